//! Names of run folders, how to resume a run, and whether data are there at all.

use std::path::Path;

use taper_core::OutOfRange;
use taper_run::{Error, KNOWN_DATASETS, OutFolder};

/// How to continue an interrupted run.
pub(crate) fn go_on(run: &Path) -> String {
    let shown = run.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "-_./:+@%,=~".contains(c);
    match shown.chars().all(plain) {
        true => format!("continue with: taper train --resume {shown}"),
        false => format!("continue with: taper train --resume '{}'", shown.replace('\'', "'\\''")),
    }
}

/// The first of `runs/DATA-MODEL-1`, `-2`, … that does not exist when the folder is made.
pub(crate) fn next_run(data: &str, model: &str, kind: &str) -> OutFolder {
    let data = Path::new(data).file_name().map_or("data".into(), |name| name.to_string_lossy());
    let data: String = data
        .chars()
        .map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' })
        .collect();
    OutFolder::Next(format!("runs/{data}-{model}-{kind}").into())
}

/// Data on this machine must exist.
pub(crate) fn present(data: &str) -> Result<(), Error> {
    let elsewhere = data.starts_with("hf:") || KNOWN_DATASETS.iter().any(|set| set.name == data);
    // What a pattern finds is for the source to say.
    if elsewhere || data.contains(['*', '?', '[', '{']) || Path::new(data).symlink_metadata().is_ok()
    {
        return Ok(());
    }
    let remedy = "there is no such folder or file: check the spelling; `taper datasets` lists the data sets that have names";
    Err(OutOfRange::new("data", format!("'{data}'"), remedy).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_to_go_on_can_be_pasted() {
        assert!(go_on(Path::new("runs/a-1")).ends_with("--resume runs/a-1"));
        assert!(go_on(Path::new("my runs/it's")).ends_with("--resume 'my runs/it'\\''s'"));
    }

    #[test]
    fn names_of_runs_have_no_odd_characters() {
        let next = next_run("hf:owner/my set", "resnet50", "lr-");
        assert_eq!(next, OutFolder::Next("runs/my-set-resnet50-lr-".into()));
    }
}
