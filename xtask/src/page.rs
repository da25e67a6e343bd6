//! Pages in headless Chromium: that of `taper serve`, that of `taper export --format web`, and the
//! reports of trainings.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail};

use crate::{build_taper, output_of, reports, root, run};

/// Photographs that the tests have anyway.
const PICTURES: [&str; 3] = ["chelsea.jpg", "coffee.jpg", "rocket.jpg"];
/// Finds what people with impairments would trip over.
const AXE: &str = "axe-core@4.14.1";

/// Ends the server whatever happens.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads reports, and uses the page of `taper serve`.
pub(crate) fn served() -> anyhow::Result<()> {
    let Some(chromium) = chromium() else {
        bail!("there is no Chromium: install the package chromium, or set CHROMIUM to one");
    };
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |folder| root().join(folder));
    let folder = target.join("page");
    let (taper, model) = train(&folder)?;
    let axe = axe_or_none(&folder);
    reports::check(&taper, &model, (&chromium, &axe), &folder)?;
    let mut serve = Command::new(&taper);
    serve.arg("serve").arg(&model).args(["--address", "127.0.0.1:0", "--json"]);
    let mut server = Server(serve.stdout(Stdio::piped()).spawn()?);
    let mut line = String::new();
    let output = server.0.stdout.as_mut().context("a server without output")?;
    BufReader::new(output).read_line(&mut line)?;
    let (_, rest) = line.split_once("\"address\":\"").context("the server does not start")?;
    let (url, _) = rest.split_once('"').context("the server does not say where it is")?;
    let mut script = node("tests/page/page.mjs");
    script.arg(&chromium).arg(&axe).arg(format!("{url}/"));
    run(script.arg(&folder).args(pictures()))?;
    eprintln!("screenshots: {}", folder.display());
    Ok(())
}

/// Uses what `taper export --format web` writes, in Node.js and, if there is one, in Chromium.
pub(crate) fn exported(folder: &Path) -> anyhow::Result<()> {
    let (taper, model) = train(folder)?;
    let web = folder.join("exported");
    let mut export = Command::new(&taper);
    run(export.arg("export").arg(&model).args(["--format", "web", "--out"]).arg(&web))?;
    let mut predict = Command::new(&taper);
    predict.arg("predict").arg(&model).args(pictures()).args(["--precision", "f32", "--json"]);
    let expected = folder.join("expected.jsonl");
    fs::write(&expected, output_of(&mut predict)?)?;
    run(node("tests/web/node.mjs").arg(&web).arg(&expected).args(pictures()))
        .context("Node.js 18 or later has to run the module")?;
    let Some(chromium) = chromium() else {
        eprintln!("skipped: the exported page in a browser, for there is no Chromium");
        return Ok(());
    };
    let mut script = node("tests/web/browser.mjs");
    script.arg(chromium).arg(axe_or_none(folder)).arg(web).arg(expected).arg(folder);
    run(script.args(pictures()))?;
    eprintln!("screenshots: {}", folder.display());
    Ok(())
}

/// Empties a folder and trains a model in it; gives the program and the model.
fn train(folder: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error)?,
        _ => fs::create_dir_all(folder)?,
    }
    let (taper, model) = (build_taper()?, folder.join("hands"));
    run(Command::new(&taper).args(["train", "--size", "96", "-q", "--out"]).arg(&model))?;
    Ok((taper, model))
}

fn pictures() -> [PathBuf; 3] {
    PICTURES.map(|name| root().join("tests/end_to_end/photographs").join(name))
}

pub(crate) fn node(script: &str) -> Command {
    let mut node = Command::new(env::var_os("NODE").unwrap_or_else(|| "node".into()));
    node.arg(root().join(script));
    node
}

/// The browser: `CHROMIUM`, or the first one of the usual names.
pub(crate) fn chromium() -> Option<PathBuf> {
    if let Some(own) = env::var_os("CHROMIUM") {
        return Some(own.into());
    }
    let path = env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let mut all = env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name)));
    all.find(|file| file.is_file())
}

/// axe-core, or without npm's registry `-`: the page is used all the same.
fn axe_or_none(folder: &Path) -> PathBuf {
    axe(folder).unwrap_or_else(|error| {
        eprintln!("skipped: the search for what hinders people, without axe-core: {error:#}");
        PathBuf::from("-")
    })
}

/// axe-core, from npm.
fn axe(folder: &Path) -> anyhow::Result<PathBuf> {
    let mut pack = Command::new("npm");
    pack.args(["pack", "--silent", AXE]).current_dir(folder);
    run(&mut pack).context("npm has to fetch axe-core")?;
    let archive = format!("{}.tgz", AXE.replace('@', "-"));
    let mut unpack = Command::new("tar");
    unpack.args(["xzf", &archive, "package/axe.min.js"]).current_dir(folder);
    run(&mut unpack)?;
    Ok(folder.join("package/axe.min.js"))
}
