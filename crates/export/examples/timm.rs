//! Writes a network of the zoo with seeded weights under timm's names, with normalised pictures and
//! the logits that Taper gives, for `tests/exports/timm_networks.py`. Without arguments, lists the
//! networks that timm can take; with the name of one and a folder, writes it there.
#![allow(clippy::print_stdout, reason = "a program prints its answer")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::{fs, path::Path};

use serde_json::json;
use taper_export::{Format, TimmOptions, export};
use taper_graph::{Op, heads};
use taper_model::{Classifier, OpenOptions};
use taper_outputs::OutFile;
use taper_run::Session;

/// How many pictures there are, and how many classes.
const PICTURES: usize = 3;
const CLASSES: usize = 5;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some((name, folder)) = arguments.next().zip(arguments.next()) else {
        for spec in taper_zoo::models() {
            let graph = spec.graph();
            let after = &graph.nodes()[graph.features() + 1..];
            if after.is_empty() || after.len() == 1 && matches!(after[0].op, Op::Linear(_)) {
                println!("{}", spec.name);
            }
        }
        return Ok(());
    };
    let folder = Path::new(&folder);
    let spec = taper_zoo::find(&name)?;
    let backbone = spec.backbone();
    let head = heads::linear(backbone.feature_width(), CLASSES);
    let classes = (0..CLASSES).map(|i| format!("class {i}")).collect();
    let path = common::saved(folder, &name, [backbone, head], classes)?;
    let out = OutFile::check("out", &folder.join("timm.safetensors"), true)?;
    let exported = export(&path, &Format::Timm(TimmOptions::default()), &out, &Session::quiet())?;

    let size = spec.preprocessing.size as usize;
    let mut state = 1u32;
    let pixels: Vec<u8> = (0..PICTURES * size * size * 3)
        .map(|at| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 25) as usize + at / (size * size) * 20 + at % size / 4) as u8
        })
        .collect();
    let classifier = Classifier::open(&path, &OpenOptions::default())?;
    let rows = classifier.backbone().forward(&pixels, PICTURES)?;
    let mut logits = [0.0; PICTURES * CLASSES];
    let head = classifier.head().ok_or_else(|| anyhow::anyhow!("a model without a head"))?;
    for (row, logits) in
        rows.chunks_exact(classifier.backbone().width()).zip(logits.chunks_exact_mut(CLASSES))
    {
        head.evaluate(row, logits)?;
    }
    fs::write(folder.join("pixels.u8"), &pixels)?;
    let about = json!({
        "architecture": exported.architecture,
        "classes": CLASSES,
        "size": size,
        "mean": spec.preprocessing.mean,
        "std": spec.preprocessing.std,
        "logits": logits.chunks_exact(CLASSES).collect::<Vec<_>>(),
    });
    Ok(fs::write(folder.join("about.json"), about.to_string())?)
}
