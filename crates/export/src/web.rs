//! A model as a folder for browsers and Node.js.

use std::{borrow::Cow, fs, path::Path};

use serde::Serialize;
use sha2::{Digest, Sha256};
use taper_core::{Precision, hex};
use taper_graph::WeightSource;
use taper_outputs::OutFolder;
use taper_run::Session;
use taper_weights::rounded_to_f16;

use crate::{
    Result,
    export::{Source, go_on},
    onnx::json as text_of,
};

/// How a model is written for browsers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebOptions {
    /// Whether the network's weights are rounded to 16-bit floats, which halves what a visitor
    /// loads. Published weights that have 16 bits anyway are not changed by it, and neither are
    /// the head and what normalises. Default: yes.
    pub half: bool,
}

impl Default for WebOptions {
    fn default() -> Self {
        Self { half: true }
    }
}

/// A folder for browsers: the answer of `taper export --format web`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExportedWeb {
    /// The folder that was made.
    pub folder: String,
    /// `web`.
    pub format: &'static str,
    /// The size of all files in bytes.
    pub bytes: u64,
    /// What is in it, by name.
    pub files: Vec<ExportedFile>,
    /// The model that it was made from.
    pub model: String,
    /// What it can tell apart.
    pub classes: Vec<String>,
    /// The side of the network's pictures in pixels.
    pub size: u32,
    /// How many tensors were rounded to 16 bits.
    pub rounded: usize,
    /// The name of the npm package that the folder is.
    pub package: String,
    /// The licence of the published weights that the network's are or go back to, as an SPDX
    /// expression; `null` if it is not known.
    pub licence: Option<String>,
}

/// A file of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExportedFile {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
}

/// Writes a trained model, `model.safetensors` of a run folder or the folder, as a folder that a
/// web server serves as it is: a page, `taper.js` for other pages and for Node.js, the module and
/// the model. It is an npm package too. The same model gives the same bytes; the recipe, and where
/// the weights lay, which name folders of the machine that trained it, are left out.
///
/// # Errors
/// [`Error::Run`](crate::Error::Run) if the model cannot be opened, the folder not be made, or the
/// session was interrupted before that.
pub fn export_web(
    model: &Path,
    options: &WebOptions,
    out: &Path,
    session: &Session,
) -> Result<ExportedWeb> {
    let folder = OutFolder::from(out);
    folder.check()?;
    let mut source = Source::open(model)?;
    source.artefact.recipe = String::new();
    // It may name a file of this machine; the digest, the licence and who trained them stay.
    let published = source.published.as_ref().map(|own| own.source.clone());
    source.artefact.weights.origin = published.unwrap_or_else(|| "not told".into());
    // What a processor might gain by bf16, a browser does not.
    source.artefact.precision = Precision::F32;
    let (artefact, weights) = (&source.artefact, &source.weights);
    let original = weights.backbone();
    let rounded = Rounded(&original);
    let backbone: &dyn WeightSource = if options.half { &rounded } else { &original };
    let changed = artefact.backbone.parameters().into_iter().filter(|parameter| {
        let (before, after) = (original.values(&parameter.name), backbone.values(&parameter.name));
        before != after
    });
    let changed = changed.count();
    let package = package_name(out);
    let (folder, files) = folder.make(|folder| -> Result<_> {
        artefact.save(&folder.join(taper_browser::MODEL), backbone, &weights.head())?;
        let texts = [
            ("index.html", taper_browser::exported_page()),
            ("package.json", package_json(&package)),
            ("README.md", readme(&package, &source)?),
        ];
        let texts = texts.iter().map(|(name, text)| (*name, text.as_bytes()));
        for (name, content) in texts.chain(taper_browser::FILES) {
            let path = folder.join(name);
            fs::write(&path, content).map_err(taper_run::Error::io("write", &path))?;
        }
        let files = files_of(folder)?;
        go_on(session)?;
        Ok(files)
    })?;
    Ok(ExportedWeb {
        folder: folder.display().to_string(),
        format: "web",
        bytes: files.iter().map(|file| file.bytes).sum(),
        files,
        classes: source.classes(),
        size: artefact.preprocessing.size,
        rounded: changed,
        package,
        licence: source.published.map(|own| own.licence),
        model: source.file,
    })
}

/// The files of a folder, by name.
fn files_of(folder: &Path) -> Result<Vec<ExportedFile>> {
    let fail = |error| taper_run::Error::io("read", folder)(error);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let content = fs::read(entry.path()).map_err(fail)?;
        files.push(ExportedFile {
            name: entry.file_name().to_string_lossy().into_owned(),
            bytes: content.len() as u64,
            sha256: hex(&Sha256::digest(&content)),
        });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// Weights whose matrices and filters are the nearest numbers of 16 bits. One-dimensional tensors,
/// which are small and scale whole channels, and tensors with numbers beyond the range are left as
/// they are.
struct Rounded<'a>(&'a dyn WeightSource);

impl WeightSource for Rounded<'_> {
    fn names(&self) -> Vec<&str> {
        self.0.names()
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.0.shape(name)
    }

    fn values(&self, name: &str) -> Option<Cow<'_, [f32]>> {
        let values = self.0.values(name)?;
        let fits = values.iter().all(|value| rounded_to_f16(*value).is_finite());
        if self.0.shape(name)?.len() < 2 || !fits {
            return Some(values);
        }
        Some(values.iter().map(|value| rounded_to_f16(*value)).collect())
    }
}

/// Names that npm refuses, and modules of Node.js itself, which would hide a package of this name.
const RESERVED: [&str; 40] = [
    "node_modules",
    "favicon.ico",
    "assert",
    "async_hooks",
    "buffer",
    "child_process",
    "cluster",
    "console",
    "constants",
    "crypto",
    "dgram",
    "diagnostics_channel",
    "dns",
    "domain",
    "events",
    "fs",
    "http",
    "http2",
    "https",
    "inspector",
    "module",
    "net",
    "os",
    "path",
    "perf_hooks",
    "process",
    "punycode",
    "querystring",
    "readline",
    "repl",
    "stream",
    "string_decoder",
    "timers",
    "tls",
    "tty",
    "url",
    "util",
    "v8",
    "vm",
    "zlib",
];

/// A name that npm takes, from that of the folder.
fn package_name(folder: &Path) -> String {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.into());
    let name = folder.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = name.chars().map(|c| if allowed(c) { c } else { '-' }).collect();
    let name = name.trim_start_matches(['.', '_', '-']).trim_end_matches('-');
    match name.chars().take(100).collect::<String>() {
        name if name.is_empty() => "taper-classifier".into(),
        name if RESERVED.contains(&name.as_str()) => format!("{name}-classifier"),
        name => name,
    }
}

fn package_json(name: &str) -> String {
    // The name has no character that JSON would escape, and the order counts: types come first.
    include_str!("../assets/package.json").replace("{{package}}", name)
}

/// What the folder is and how to use it. Names of classes stand in a block of code, where nothing
/// is markup.
fn readme(package: &str, source: &Source) -> Result<String> {
    let artefact = &source.artefact;
    let classes = text_of(&artefact.classes)?.replace("```", "\\u0060\\u0060\\u0060");
    let weights = match &source.published {
        Some(own) => {
            format!("The network's weights go back to those of {} ({}).", own.source, own.licence)
        }
        None => "The licence of the network's weights is not known.".into(),
    };
    Ok(include_str!("../assets/web.md")
        .replace("{{package}}", package)
        .replace("{{network}}", &artefact.model)
        .replace("{{size}}", &artefact.preprocessing.size.to_string())
        .replace("{{sha256}}", &source.sha256)
        .replace("{{weights}}", &weights)
        .replace("{{classes}}", &classes))
}

#[cfg(test)]
mod tests {
    use taper_graph::Weights;

    use super::*;

    #[test]
    fn names_of_packages_are_what_npm_takes() {
        for (folder, name) in [
            ("runs/Photos 1", "photos-1"),
            ("./.hidden-web", "hidden-web"),
            ("Vögel", "v-gel"),
            ("__", "taper-classifier"),
            ("fs", "fs-classifier"),
        ] {
            assert_eq!(package_name(Path::new(folder)), name);
        }
    }

    #[test]
    fn only_matrices_in_range_are_rounded() {
        let mut weights = Weights::new();
        weights.insert("matrix", vec![1, 2], vec![0.1, -3.0]);
        weights.insert("large", vec![1, 2], vec![0.1, 70_000.0]);
        weights.insert("scale", vec![2], vec![0.1, 0.2]);
        let rounded = Rounded(&weights);
        assert_eq!(rounded.values("matrix").as_deref(), Some(&[0.099_975_586, -3.0][..]));
        assert_eq!(rounded.values("large").as_deref(), Some(&[0.1, 70_000.0][..]));
        assert_eq!(rounded.values("scale").as_deref(), Some(&[0.1, 0.2][..]));
    }
}
