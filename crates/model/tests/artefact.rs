//! Artefacts of every version, and of every precision, open on the CPU.
#![allow(clippy::unwrap_used, reason = "also in the helpers of tests")]

mod common;

use std::path::Path;

use taper_core::Precision;
use taper_model::{Artefact, Classifier, OpenOptions};

/// An artefact of the current version, converted by `fixtures/make.py`.
fn version_1() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/version-1.safetensors")
}

#[test]
fn an_artefact_of_version_1_opens() {
    let (old, _) = Artefact::open(&version_1()).unwrap();
    // The recipe was an object.
    assert_eq!(old.recipe, r#"{"nobody":{"knows":["this","any","more"]},"seed":1}"#);
    let today = common::artefact(Precision::F32);
    assert_eq!((old.backbone, old.head), (today.backbone.clone(), today.head.clone()));
    assert_eq!((&old.classes, old.data), (&today.classes, "none".into()));

    let path = common::folder("version-1").join("model.safetensors");
    common::save(&today, &path);
    let (pixels, _) = common::picture(0);
    let answer = common::probabilities(&common::open(&version_1()), &pixels);
    assert_eq!(answer, common::probabilities(&common::open(&path), &pixels));
}

#[test]
fn what_was_trained_in_f16_or_tf32_opens_on_the_cpu_in_f32() {
    let folder = common::folder("precision");
    let (pixels, _) = common::picture(0);
    let of = |precision: Precision| {
        let path = folder.join(format!("{precision}.safetensors"));
        common::save(&common::artefact(precision), &path);
        path
    };
    let plain = common::probabilities(&common::open(&of(Precision::F32)), &pixels);
    for precision in [Precision::F16, Precision::Tf32] {
        let path = of(precision);
        let (artefact, _) = Artefact::open(&path).unwrap();
        assert_eq!((artefact.precision, artefact.cpu_precision()), (precision, Precision::F32));
        assert_eq!(common::probabilities(&common::open(&path), &pixels), plain);
        // Asked for by name, it is an error: only CUDA has it.
        let options = OpenOptions { precision: Some(precision), ..OpenOptions::default() };
        let error = Classifier::open(&path, &options).unwrap_err().to_string();
        assert!(error.contains(precision.name()) && error.contains("CUDA"), "{error}");
    }
    let brain = common::probabilities(&common::open(&of(Precision::Bf16)), &pixels);
    assert_ne!(brain, plain);
    for (brain, plain) in brain.iter().zip(&plain) {
        assert!((brain - plain).abs() < 0.02, "{brain} instead of {plain}");
    }
}

#[test]
fn an_artefact_of_tomorrow_is_refused_by_its_version() {
    let path = common::folder("tomorrow").join("model.safetensors");
    common::save(&common::artefact(Precision::F32), &path);
    let mut bytes = std::fs::read(&path).unwrap();
    // In the description, whose quotes are escaped in the header.
    let (from, to) = (br#"\"version\":2"#, br#"\"version\":9"#);
    let at = bytes.windows(from.len()).position(|part| part == from).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to);
    let error = Artefact::from_bytes("m", bytes).unwrap_err().to_string();
    assert!(error.contains("version 9") && error.contains("up to 2"), "{error}");
}
