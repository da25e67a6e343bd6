//! What an encoder on seeded weights is asked about names.
#![allow(clippy::unwrap_used)] // helpers of tests

mod common;

use std::{cell::RefCell, ops::ControlFlow};

use common::{TOWER, tokenizer};
use taper_graph::Weights;
use taper_kernels::KernelClass;
use taper_text::{Error, Prompts, Questions, TextEncoder, class_directions};

fn encoder() -> TextEncoder {
    let weights = Weights::seeded_by_name(TOWER.tensors());
    TextEncoder::new(&TOWER, &weights, KernelClass::best()).unwrap()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

const ON: fn(usize) -> ControlFlow<()> = |_| ControlFlow::Continue(());

#[test]
fn each_name_has_the_mean_direction_of_its_sentences() {
    let (encoder, tokenizer) = (encoder(), tokenizer());
    let three = names(&["cat", "cup_of_coffee", "rocket"]);
    let heard = RefCell::new(Vec::new());
    let watch = |done: usize| {
        heard.borrow_mut().push(done);
        ControlFlow::Continue(())
    };
    // More sentences than are answered at a time.
    let prompts = Prompts::imagenet();
    let all = class_directions(&encoder, &tokenizer, &three, &prompts, &watch).unwrap();
    assert_eq!(heard.into_inner(), [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]);
    let unit = |row: &[f32]| {
        let length = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        row.iter().map(|v| f64::from(*v) / length).collect::<Vec<f64>>()
    };
    for (name, found) in three.iter().zip(all.chunks_exact(TOWER.features)) {
        let texts = prompts.about(name);
        let tokens: Vec<_> = texts.iter().map(|text| tokenizer.tokens(text).unwrap()).collect();
        let answers = encoder.encode(&tokens).unwrap();
        let mut sum = vec![0f32; TOWER.features];
        for answer in answers.chunks_exact(TOWER.features) {
            sum.iter_mut().zip(unit(answer)).for_each(|(sum, v)| *sum += v as f32);
        }
        let close = unit(&sum).iter().zip(found).all(|(a, b)| (a - f64::from(*b)).abs() < 1e-5);
        assert!(close, "{name}: {found:?}");
    }
}

#[test]
fn the_work_can_be_broken_off() {
    let (encoder, tokenizer) = (encoder(), tokenizer());
    let asked = Questions::new(&tokenizer, &names(&["cat", "dog"]), &Prompts::imagenet()).unwrap();
    // At once, in the middle of a name, between names, and at the very end.
    for last in [0, 2, 3, 6] {
        let heard = RefCell::new(0);
        let watch = |_: usize| {
            let now = heard.replace_with(|heard| *heard + 1);
            if now == last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let error = asked.directions(&encoder, &watch).unwrap_err();
        assert!(matches!(error, Error::Interrupted), "{error}");
        assert_eq!(heard.into_inner(), last + 1);
    }
    assert!(asked.directions(&encoder, &ON).is_ok());
}

#[test]
fn names_that_are_too_long_are_known() {
    let long = vec!["very"; 80].join(" ");
    // With 70 words, some sentences fit into 77 tokens, and others do not.
    let (some, fits) = (vec!["old"; 70].join(" "), vec!["red"; 40].join(" "));
    let own = names(&["cat", &long, &fits, &some]);
    let asked = Questions::new(&tokenizer(), &own, &Prompts::default()).unwrap();
    assert_eq!(asked.cut(), [long.clone(), some]);
    // What differs only beyond the end is the same.
    let own = [long.clone(), format!("{long} red")];
    let error = Questions::new(&tokenizer(), &own, &Prompts::bare()).unwrap_err();
    assert!(matches!(error, Error::SameNames { .. }), "{error}");
}
