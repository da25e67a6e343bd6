//! Draws every kind of picture with made-up figures, to look at: `cargo run -p taper-report
//! --example pictures FOLDER`.

use std::{env, error::Error, fs, path::PathBuf};

use taper_core::ClassNames;
use taper_metrics::Metrics;
use taper_report::{Curves, EpochFigures, Kept, confusion};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::args().nth(1).unwrap_or_else(|| "pictures".into()));
    fs::create_dir_all(&folder)?;

    // The validation losses of epochs 10 to 16 are the tutorial's.
    let val_loss = [
        1.02, 0.86, 0.75, 0.66, 0.61, 0.55, 0.52, 0.47, 0.45, 0.43, 0.4059, 0.4107, 0.3681, 0.3904,
        0.3169, 0.3422, 0.3233,
    ];
    let epochs: Vec<EpochFigures> = val_loss
        .iter()
        .enumerate()
        .map(|(i, &loss)| EpochFigures {
            epoch: i as u64,
            loss: Some(0.95 * (-0.17 * i as f64).exp() + 0.04 + 0.01 * f64::from(i as u32 % 3)),
            accuracy: Some(0.98 - 0.42 * (-0.3 * i as f64).exp()),
            val_loss: Some(loss),
            val_accuracy: Some(0.99 - 0.33 * loss),
            learning_rate: Some(if i < 12 { 1e-3 } else { 1e-4 }),
        })
        .collect();
    let curves = Curves {
        title: "rock-paper-scissors".into(),
        subtitle: "ResNet-50 (ImageNet), frozen · tutorial head · 2,520 training and 372 validation pictures · seed 42".into(),
        epochs: epochs.clone(),
        kept: Kept::Epoch(14),
        stopped_epoch: Some(16),
        phase_change: None,
    };
    curves.draw().save(&folder, "curves")?;
    let constant = Curves {
        epochs: epochs[..3]
            .iter()
            .map(|e| EpochFigures { learning_rate: Some(1e-3), ..*e })
            .collect(),
        kept: Kept::Epoch(2),
        stopped_epoch: None,
        ..curves.clone()
    };
    constant.draw().save(&folder, "curves-short")?;
    let between = Curves {
        kept: Kept::Between { epochs: vec![13, 11, 15], share: 0.6 },
        phase_change: Some(6),
        ..curves.clone()
    };
    between.draw().save(&folder, "curves-between")?;
    let one = Curves {
        epochs: epochs[..1].to_vec(),
        kept: Kept::Epoch(0),
        stopped_epoch: None,
        ..curves
    };
    one.draw().save(&folder, "curves-one")?;

    let scripts = [
        "cat",
        "Größe",
        "Ελιά",
        "Берёза",
        "猫",
        "日本語の名前",
        "고양이",
        "قطة سوداء",
        "חתול שחור",
        "बिल्ली",
        "แมว",
        "😺 emoji 👍🏽",
    ];
    for k in [2, 3, 5, 12, 37, 40, 120, 1000] {
        let names = match k {
            2 => vec!["healthy".into(), "Phytophthora infestans (late blight)".into()],
            3 => ["paper", "rock", "scissors"].map(String::from).to_vec(),
            5 => ["حجر", "ورقة", "مقص", "石头", "very ".repeat(60).trim_end()]
                .map(String::from)
                .to_vec(),
            12 => scripts.map(String::from).to_vec(),
            40 => (0..k).map(|c| format!("{} {c}", scripts[c % scripts.len()])).collect(),
            _ => (0..k).map(|c| format!("species {c} & <kin>")).collect(),
        };
        let mut metrics = Metrics::new(k)?;
        for i in 0..124 * k.min(40) {
            let label = i % k;
            let mut logits = vec![0.0; k];
            logits[if i % 11 == 3 { (label + 1 + i % 2) % k } else { label }] = 3.0;
            metrics.update_logits(&logits, &[label as u32])?;
        }
        let evaluation = metrics.evaluation(&ClassNames::new(names)?)?;
        confusion("Confusion on the validation split", &evaluation)?
            .save(&folder, &format!("confusion-{k}"))?;
    }
    Ok(())
}
