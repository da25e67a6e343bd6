//! The charts show what the figures say.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use taper_core::ClassNames;
use taper_metrics::Metrics;
use taper_report::{Curves, EpochFigures, Kept, confusion};

const CSV: &str = "epoch,accuracy,learning_rate,loss,val_accuracy,val_loss\n\
                   0,0.5,0.001,1.25,0.4,1.5\n\
                   1,0.75,0.001,0.5,0.7,0.75\n\
                   2,nan,1e-05,nan,NA,NA\n";

fn curves() -> Curves {
    Curves {
        title: "a run <1>".into(),
        subtitle: "a model & a head".into(),
        epochs: Curves::epochs_from_csv(CSV).unwrap(),
        kept: Kept::Epoch(1),
        stopped_epoch: Some(2),
        phase_change: None,
    }
}

#[test]
fn a_history_is_read() {
    let epochs = curves().epochs;
    assert_eq!(epochs.len(), 3);
    let second = EpochFigures {
        epoch: 1,
        loss: Some(0.5),
        accuracy: Some(0.75),
        val_loss: Some(0.75),
        val_accuracy: Some(0.7),
        learning_rate: Some(0.001),
    };
    assert_eq!(epochs[1], second);
    assert!(epochs[2].loss.unwrap().is_nan());
    assert_eq!((epochs[2].val_loss, epochs[2].learning_rate), (None, Some(1e-5)));
    for (text, line) in [
        ("", 1),
        ("loss\n1\n", 1),
        ("epoch,loss\n0,1\n1\n", 3),
        ("epoch,loss\n0,x\n", 2),
        ("epoch\nx\n", 2),
    ] {
        let error = Curves::epochs_from_csv(text).unwrap_err().to_string();
        assert!(error.contains(&format!("line {line}:")), "{error}");
    }
}

#[test]
fn curves_show_what_matters() {
    let picture = curves().draw();
    for text in [
        "a run &lt;1&gt;",
        "a model &amp; a head",
        ">Loss<",
        ">Accuracy<",
        ">Learning rate<",
        ">training<",
        ">validation<",
        "best weights: epoch 2",
        "stopped after epoch 3",
        "best: 0.7500",
        "best: 0.7000",
    ] {
        assert!(picture.svg().contains(text), "{text} is missing");
    }
    assert_eq!(picture.png(2.0).unwrap(), curves().draw().png(2.0).unwrap());
}

#[test]
fn weights_between_epochs_are_not_called_an_epochs() {
    let between = |epochs: &[u64], share| {
        let kept = Kept::Between { epochs: epochs.to_vec(), share };
        Curves { kept, ..curves() }.draw().svg().to_owned()
    };
    for (svg, label) in [
        (between(&[1], 0.3), "kept: 0.3 of the way to epoch 2"),
        (between(&[1, 0], 1.0), "kept: the mean of epochs 1, 2"),
        (between(&[1, 0], 0.6), "kept: 0.6 of the way to the mean of epochs 1, 2"),
    ] {
        assert!(svg.contains(label), "{label} is missing");
        assert!(!svg.contains("best"), "{label}");
    }
}

#[test]
fn what_was_not_measured_is_not_shown() {
    let only_loss =
        |e: &EpochFigures| EpochFigures { epoch: e.epoch, loss: e.loss, ..Default::default() };
    let bare = Curves {
        epochs: curves().epochs.iter().map(only_loss).collect(),
        kept: Kept::None,
        stopped_epoch: None,
        ..curves()
    };
    let picture = bare.draw();
    for text in [">Accuracy<", ">validation<", "best", "stopped", "Learning"] {
        assert!(!picture.svg().contains(text), "{text}");
    }
    picture.png(1.0).unwrap();
    Curves::default().draw().png(1.0).unwrap();
}

#[test]
fn confusion_names_the_worst_pair() {
    let mut metrics = Metrics::new(2).unwrap();
    metrics.update_logits(&[1.0, 0.0, 1.0, 0.0, 0.0, 1.0], &[0, 1, 1]).unwrap();
    let names = ClassNames::new(vec!["paper".into(), "rock".into()]).unwrap();
    let picture = confusion("Validation", &metrics.evaluation(&names).unwrap()).unwrap();
    for text in [
        "Validation",
        "3 pictures",
        "accuracy 0.667",
        "rock taken for paper (1 of 2)",
        "predicted class",
        "50.0 %",
    ] {
        assert!(picture.svg().contains(text), "{text} is missing");
    }
}
