//! A classifier takes files, bytes and pixels, one or many, from several threads.
#![allow(clippy::unwrap_used, reason = "also in the helpers of tests")]

mod common;

use std::{path::Path, thread};

use taper_core::Precision;
use taper_model::{Classifier, Error, Input, OpenOptions};

#[test]
fn file_bytes_and_pixels_get_the_same_answer_one_or_many_at_a_time() {
    let folder = common::folder("forms");
    let model = folder.join("model.safetensors");
    common::save(&common::artefact(Precision::F32), &model);
    let classifier = common::open(&model);
    let (pixels, png) = common::picture(0);
    let (others, _) = common::picture(40);
    let file = folder.join("picture.png");
    std::fs::write(&file, &png).unwrap();

    let answer = classifier.predict(&pixels).unwrap();
    assert_eq!(answer, classifier.predict(png.as_slice()).unwrap());
    assert_eq!(answer, classifier.predict(file.as_path()).unwrap());
    let sum: f64 = answer.probabilities.iter().map(|(_, p)| p).sum();
    assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    assert!(answer.probabilities.contains(&(answer.label.clone(), answer.probability)));
    let names: Vec<&str> = answer.probabilities.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["cat", "dog", "horse"]);
    let other = classifier.predict(&others).unwrap();
    assert_ne!(answer, other);

    // More than one batch, and broken pictures do not affect the answers for the others.
    let cut = &png[..png.len() / 2];
    let none = folder.join("none.png");
    let part = [
        Input::Pixels(&pixels),
        Input::Bytes(cut),
        Input::Bytes(&png),
        Input::File(&none),
        Input::Pixels(&others),
        Input::File(&file),
    ];
    let answers = classifier.predict_many(&part.repeat(7));
    assert_eq!(answers.len(), 42);
    for six in answers.chunks(6) {
        assert_eq!(six[0].as_ref().unwrap(), &answer);
        assert!(matches!(six[1], Err(Error::Bytes(_))), "{:?}", six[1]);
        assert_eq!(six[2].as_ref().unwrap(), &answer);
        let missing = six[3].as_ref().unwrap_err();
        assert!(matches!(missing, Error::File { path, .. } if path == &none), "{missing}");
        assert_eq!(six[4].as_ref().unwrap(), &other);
        assert_eq!(six[5].as_ref().unwrap(), &answer);
    }
    assert!(classifier.predict_many(&[]).is_empty());
}

#[test]
fn one_classifier_serves_several_threads() {
    let folder = common::folder("threads");
    let model = folder.join("model.safetensors");
    common::save(&common::artefact(Precision::F32), &model);
    let bytes = std::fs::read(&model).unwrap();
    let classifier = Classifier::from_bytes("memory", bytes, &OpenOptions::default()).unwrap();
    let pictures: Vec<_> = (0..5).map(|i| common::picture(20 * i)).collect();
    let expected: Vec<_> = pictures.iter().map(|(p, _)| classifier.predict(p).unwrap()).collect();
    assert_eq!(expected[0], common::open(&model).predict(&pictures[0].0).unwrap());
    thread::scope(|scope| {
        for first in 0..4 {
            let (classifier, pictures, expected) = (&classifier, &pictures, &expected);
            scope.spawn(move || {
                for round in 0..20 {
                    let at = (first + round) % pictures.len();
                    let (pixels, png) = &pictures[at];
                    assert_eq!(classifier.predict(pixels).unwrap(), expected[at]);
                    let both = [Input::Bytes(png), Input::Pixels(&pictures[first].0)];
                    let both = classifier.predict_many(&both);
                    assert_eq!(both[0].as_ref().unwrap(), &expected[at]);
                    assert_eq!(both[1].as_ref().unwrap(), &expected[first]);
                }
            });
        }
    });
}

#[test]
fn what_is_no_model_is_told() {
    let text = |error: Error| error.to_string();
    let options = OpenOptions::default();
    let error = text(Classifier::open(Path::new("/no/such/model"), &options).unwrap_err());
    assert!(error.contains("/no/such/model"), "{error}");
    let weights = b"\x02\0\0\0\0\0\0\0{}".to_vec();
    let error = text(Classifier::from_bytes("upload", weights, &options).unwrap_err());
    assert!(error.contains("'upload'") && error.contains("not written by Taper"), "{error}");
}
