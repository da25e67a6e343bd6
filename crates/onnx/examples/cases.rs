//! Writes networks with seeded weights as ONNX files, with pictures and what Taper answers, for
//! `tests/exports/networks.py`. Without arguments, lists the cases; with `--own-size`, those of all
//! networks at their own size; with the name of one and a folder, writes it there.
#![allow(clippy::print_stdout, reason = "a program prints its answer")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::{fs, path::PathBuf};

use serde_json::json;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (name, folder) = (arguments.next(), arguments.next().map(PathBuf::from));
    let own = name.as_deref() == Some("--own-size");
    let Some((name, folder)) = name.zip(folder) else {
        let cases = if own { common::cases_of_own_size() } else { common::cases() };
        cases.iter().for_each(|case| println!("{}", case.name));
        return Ok(());
    };
    let mut cases = common::cases().into_iter().chain(common::cases_of_own_size());
    let case = cases.find(|case| case.name == name);
    let case = case.ok_or_else(|| anyhow::anyhow!("there is no case '{name}'"))?;
    let written = case.write()?;
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("model.onnx"), &written.file)?;
    fs::write(folder.join("pixels.u8"), &written.pixels)?;
    let bytes: Vec<u8> = written.expected.iter().flat_map(|v| v.to_le_bytes()).collect();
    fs::write(folder.join("expected.f32"), bytes)?;
    let about = json!({
        "pictures": common::PICTURES,
        "size": case.size,
        "options": case.options,
        "mean": written.preprocessing.mean,
        "std": written.preprocessing.std,
        "labels": common::classes(),
    });
    fs::write(folder.join("about.json"), about.to_string())?;
    Ok(())
}
