//! The page of `taper serve` in headless Chromium.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail};

use crate::{build_taper, root, run};

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

pub(crate) fn run_task() -> anyhow::Result<()> {
    let Some(chromium) = chromium() else {
        bail!("there is no Chromium: install the package chromium, or set CHROMIUM to one");
    };
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |folder| root().join(folder));
    let folder = target.join("page");
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error)?,
        _ => fs::create_dir_all(&folder)?,
    }
    // Without npm's registry the page is used all the same.
    let axe = axe(&folder).unwrap_or_else(|error| {
        eprintln!("skipped: the search for what hinders people, without axe-core: {error:#}");
        PathBuf::from("-")
    });
    let taper = build_taper()?;
    run(Command::new(&taper)
        .args(["train", "--size", "96", "-q", "--out"])
        .arg(folder.join("hands")))?;
    let mut serve = Command::new(taper);
    serve.arg("serve").arg(folder.join("hands")).args(["--address", "127.0.0.1:0", "--json"]);
    let mut server = Server(serve.stdout(Stdio::piped()).spawn()?);
    let mut line = String::new();
    let output = server.0.stdout.as_mut().context("a server without output")?;
    BufReader::new(output).read_line(&mut line)?;
    let (_, rest) = line.split_once("\"address\":\"").context("the server does not start")?;
    let (url, _) = rest.split_once('"').context("the server does not say where it is")?;
    let pictures = PICTURES.map(|name| root().join("tests/end_to_end/photographs").join(name));
    let node = env::var_os("NODE").unwrap_or_else(|| "node".into());
    let mut script = Command::new(node);
    script.arg(root().join("tests/page/page.mjs")).arg(chromium).arg(axe).arg(format!("{url}/"));
    run(script.arg(&folder).args(pictures))?;
    eprintln!("screenshots: {}", folder.display());
    Ok(())
}

/// The browser: `CHROMIUM`, or the first one of the usual names.
fn chromium() -> Option<PathBuf> {
    if let Some(own) = env::var_os("CHROMIUM") {
        return Some(own.into());
    }
    let path = env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let mut all = env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name)));
    all.find(|file| file.is_file())
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
