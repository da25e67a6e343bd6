//! Pictures per second from JPEG files to batches: read, decoded, resized to 256², augmented.
//!
//! All read the same files, which lie in the page cache, with two threads or worker processes, in
//! batches of 64. Each does what its users would write: `tf.data` gives f32 and resizes without
//! antialiasing, `torchvision` decodes to tensors (or, for `augment-300`, works on Pillow pictures)
//! in a `DataLoader`, Taper gives u8 and antialiases.

mod case;
mod work;

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

pub(crate) use work::{WorkerOptions, work};

use self::{case::Case, work::Work};
use crate::{
    process::Process,
    protocol::Loaded,
    python,
    rounds::Rounds,
    row::{print, write_json},
};

/// The script that answers for the peers, and that makes pictures.
const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/data_peers.py");
/// Where a checkout has real pictures of 300 × 300.
const SHARED: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/rock-paper-scissors/train");

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Also measure the peers, in the same run: tf.data, torchvision.
    #[arg(long)]
    peers: bool,
    /// Write the rows to this file, as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only cases with this in their name; may be given several times.
    #[arg(long, value_name = "SUBSTRING")]
    cases: Vec<String>,
    /// A folder of JPEG pictures of 300 × 300 [default: rock-paper-scissors where it is shared,
    /// else pictures that are made].
    #[arg(long, value_name = "FOLDER")]
    pictures: Option<PathBuf>,
    /// How many turns each contestant has.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Length of a turn, at least one pass over the pictures.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    seconds: f64,
    /// Threads or worker processes of each.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
}

/// Measures, prints a table, and writes the rows.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let chosen = |case: &Case| {
        options.cases.is_empty() || options.cases.iter().any(|c| case.name().contains(c))
    };
    let cases: Vec<Case> = Case::ALL.into_iter().filter(chosen).collect();
    if cases.is_empty() {
        bail!("no case is called like that: there are {}", Case::ALL.map(Case::name).join(", "));
    }
    let program = env::current_exe()?;
    let target = program.parent().and_then(Path::parent).context("this program has no folder")?;
    let folder = target.join("bench");
    let threads = options.threads as usize;
    let mut rows = Vec::new();
    for case in cases {
        let pictures = match (&options.pictures, case) {
            (Some(pictures), Case::Jpeg300 | Case::Augment300) => pictures.clone(),
            (None, Case::Jpeg300 | Case::Augment300) if Path::new(SHARED).exists() => SHARED.into(),
            _ => made(case, &folder)?,
        };
        let work = serde_json::to_value(Work { case, pictures: pictures.clone(), threads })?;
        let peers: &[&str] = if options.peers { case.peers() } else { &[] };
        eprintln!(
            "{}: taper{}, pictures of {}",
            case.name(),
            peers.iter().map(|p| format!(", {p}")).collect::<String>(),
            pictures.display()
        );
        let mut command = Command::new(&program);
        command.args(["data-work", "taper"]);
        let mut ours = Process::start("taper", command)?;
        let reference = ours.load(work.clone())?;
        let mut ready = Vec::new();
        for peer in peers {
            let mut command = Command::new(python::interpreter(&folder)?);
            command.args([PEERS, peer]);
            let mut process = Process::start(peer, command)?;
            let loaded = process.load(work.clone())?;
            agree(case, peer, &reference, &loaded)?;
            ready.push((process, loaded));
        }
        let rounds = Rounds {
            case: case.name(),
            unit: "pictures/s",
            rounds: options.rounds as usize,
            seconds: options.seconds,
            threads,
        };
        let mut turns: Vec<_> =
            ready.iter_mut().map(|(process, loaded)| (process, loaded.clone())).collect();
        rows.extend(rounds.run(&mut ours, &mut turns)?);
    }
    print(&rows)?;
    match &options.json {
        Some(path) => write_json(&rows, path),
        None => Ok(()),
    }
}

/// The folder of a case's pictures, created if it is missing.
fn made(case: Case, folder: &Path) -> anyhow::Result<PathBuf> {
    let pictures = folder.join(case.made());
    if !pictures.exists() {
        let mut command = Command::new(python::interpreter(folder)?);
        command.args([PEERS, "make", case.made()]).arg(&pictures);
        python::run(&mut command)?;
    }
    Ok(pictures)
}

/// Whether a peer sees the same picture as Taper: compares the mean of each channel of the first
/// one after resizing.
fn agree(case: Case, peer: &str, ours: &Loaded, theirs: &Loaded) -> anyhow::Result<()> {
    let (a, b) = (&ours.sample, &theirs.sample);
    // Decoders differ: tf.data's default is libjpeg's fast transform, which moves red and blue by
    // more than a level.
    if a.len() != 3 || b.len() != 3 || !a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 2.0) {
        bail!("{}: {peer} sees another picture ({b:?}) than Taper ({a:?})", case.name());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_picture_is_refused() {
        let loaded = |sample: &[f32]| Loaded { version: String::new(), sample: sample.to_vec() };
        let ours = loaded(&[100.0, 50.0, 25.0]);
        agree(Case::Jpeg300, "p", &ours, &loaded(&[100.5, 49.5, 25.0])).unwrap();
        for other in [&[100.0, 50.0][..], &[100.0, 50.0, 30.0], &[f32::NAN, 50.0, 25.0]] {
            let error = agree(Case::Jpeg300, "p", &ours, &loaded(other)).unwrap_err();
            assert!(error.to_string().contains("p sees another picture"), "{error}");
        }
    }
}
