//! `taper export`.

use std::path::{Path, PathBuf};

use taper_args::{ExportArgs, FormatArg, Given, flags};
use taper_export::Format;
use taper_outputs::{OutFile, check_extension};
use taper_run::{Error, Session, model_file};

use crate::output::{Status, answer_json, answer_line, in_line};

pub(crate) fn export(
    args: &ExportArgs,
    given: &Given,
    session: &Session,
) -> anyhow::Result<Status> {
    flags::of_export(given, args.format)?;
    // Before anything is asked of the output: it must be there.
    model_file(&args.artefact)?;
    match args.format {
        FormatArg::Onnx => file(args, "onnx", "onnx", &args.onnx(), session),
        FormatArg::Safetensors => {
            file(args, "timm.safetensors", "safetensors", &args.timm(), session)
        }
        FormatArg::Web => folder(args, session),
    }
}

/// Where the output goes: the place that was given, or the model's name with an ending.
fn place(args: &ExportArgs, ending: &str) -> PathBuf {
    let own = || PathBuf::from(format!("{}{ending}", name_of(&args.artefact)));
    args.out.clone().unwrap_or_else(own)
}

/// How many classes are named.
const SHOWN: usize = 20;

fn row(name: &str, text: &str) -> anyhow::Result<()> {
    answer_line(&format!("{name:13} {text}"))
}

fn classes_row(classes: &[String]) -> anyhow::Result<()> {
    let shown = classes[..classes.len().min(SHOWN)].join(", ");
    let more = if classes.len() > SHOWN { ", …" } else { "" };
    row("classes", &format!("{}: {}{more}", classes.len(), in_line(&shown)))
}

fn licence_row(licence: Option<&String>) -> anyhow::Result<()> {
    licence.map_or(Ok(()), |own| row("licence", &format!("{own} (of the network's weights)")))
}

fn file(
    args: &ExportArgs,
    kind: &str,
    extension: &str,
    format: &Format,
    session: &Session,
) -> anyhow::Result<Status> {
    let path = place(args, &format!(".{kind}"));
    check_extension("out", &path, &[extension]).map_err(Error::from)?;
    let out = OutFile::check("out", &path, args.overwrite).map_err(Error::from)?;
    let exported = taper_export::export(&args.artefact, format, &out, session)?;
    if args.json {
        answer_json(&exported)?;
        return Ok(Status::Done);
    }
    row("file", &format!("{} ({:.1} MB)", in_line(&exported.file), exported.bytes as f64 / 1e6))?;
    let gives = [Some(&exported.output), exported.label.as_ref()].into_iter().flatten();
    for (name, port) in [("takes", &exported.input)].into_iter().chain(gives.map(|p| ("gives", p)))
    {
        row(name, &format!("{}: {} [{}]", port.name, port.elements, port.shape.join(", ")))?;
    }
    classes_row(&exported.classes)?;
    if let Some((name, classes)) = exported.architecture.as_ref().zip(exported.num_classes) {
        // A string of JSON is one of Python.
        let file = serde_json::to_string(&exported.file)?;
        let call =
            format!("timm.create_model(\"{name}\", num_classes={classes}, checkpoint_path={file})");
        row("timm", &call)?;
    }
    licence_row(exported.licence.as_ref())?;
    Ok(Status::Done)
}

fn folder(args: &ExportArgs, session: &Session) -> anyhow::Result<Status> {
    let path = place(args, "-web");
    let exported = taper_export::export_web(&args.artefact, &args.web(), &path, session)?;
    if args.json {
        answer_json(&exported)?;
        return Ok(Status::Done);
    }
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let folder = in_line(&exported.folder);
    row("folder", &format!("{folder} ({:.1} MB)", megabytes(exported.bytes)))?;
    for file in exported.files.iter().filter(|file| file.bytes >= 100_000) {
        row("", &format!("{} ({:.1} MB)", file.name, megabytes(file.bytes)))?;
    }
    row("takes", &format!("pictures of any size, for {0} × {0} pixels", exported.size))?;
    classes_row(&exported.classes)?;
    if exported.rounded > 0 {
        let what = format!(
            "{} tensors, to 16 bits (`--weights f32` leaves them as they are)",
            exported.rounded
        );
        row("rounded", &what)?;
    }
    let shell = shell_path(&exported.folder);
    row("page", &format!("python3 -m http.server --directory {shell}"))?;
    row("npm", &format!("npm install {shell}"))?;
    licence_row(exported.licence.as_ref())?;
    Ok(Status::Done)
}

/// A path as a shell takes it, which no program can mistake for an option or npm for the name of a
/// package.
fn shell_path(path: &str) -> String {
    let path = match path {
        own if own.starts_with(['/', '.']) => own.to_owned(),
        own => format!("./{own}"),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    match path.chars().all(plain) {
        true => path,
        false => format!("'{}'", in_line(&path).replace('\'', "'\\''")),
    }
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
