//! `taper export`.

use std::path::{Path, PathBuf};

use taper_outputs::{OutFile, check_extension};
use taper_run::{Error, model_file};

use crate::{
    export_args::{ExportArgs, FormatArg},
    flags::{self, Given},
    output::{Status, answer_json, answer_line, in_line},
};

pub(crate) fn export(args: &ExportArgs, given: &Given) -> anyhow::Result<Status> {
    flags::of_export(given, args.format)?;
    let (ending, kind) = match args.format {
        FormatArg::Onnx => ("onnx", "onnx"),
        FormatArg::Safetensors => ("safetensors", "timm.safetensors"),
    };
    // Before anything is asked of the file: it must be there.
    model_file(&args.artefact)?;
    let path = match &args.out {
        Some(path) => path.clone(),
        None => PathBuf::from(format!("{}.{kind}", name_of(&args.artefact))),
    };
    check_extension("out", &path, &[ending]).map_err(Error::from)?;
    let out = OutFile::check("out", &path, args.overwrite).map_err(Error::from)?;
    let exported = taper_export::export(&args.artefact, &args.resolve(), &out)?;
    if args.json {
        answer_json(&exported)?;
        return Ok(Status::Done);
    }
    let row = |name: &str, text: &str| answer_line(&format!("{name:13} {text}"));
    row("file", &format!("{} ({:.1} MB)", in_line(&exported.file), exported.bytes as f64 / 1e6))?;
    let gives = [Some(&exported.output), exported.label.as_ref()].into_iter().flatten();
    for (name, port) in [("takes", &exported.input)].into_iter().chain(gives.map(|p| ("gives", p)))
    {
        row(name, &format!("{}: {} [{}]", port.name, port.elements, port.shape.join(", ")))?;
    }
    row(
        "classes",
        &format!("{}: {}", exported.classes.len(), in_line(&exported.classes.join(", "))),
    )?;
    if let Some((name, classes)) = exported.architecture.as_ref().zip(exported.num_classes) {
        // A string of JSON is one of Python.
        let file = serde_json::to_string(&exported.file)?;
        let call =
            format!("timm.create_model(\"{name}\", num_classes={classes}, checkpoint_path={file})");
        row("timm", &call)?;
    }
    if let Some(licence) = &exported.licence {
        row("licence", &format!("{licence} (of the network's weights)"))?;
    }
    Ok(Status::Done)
}

/// A name for a model: that of its run folder, or of its file if that has a name of its own.
pub(crate) fn name_of(model: &Path) -> String {
    let model = model.canonicalize().unwrap_or_else(|_| model.into());
    let stem = model.file_stem().unwrap_or_default();
    let named = match model.is_dir() {
        true => model.file_name(),
        false if stem == "model" => model.parent().and_then(Path::file_name).or(Some(stem)),
        false => Some(stem),
    };
    named.map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned())
}
