//! Names of run folders, and how to resume a run.

use std::path::Path;

use taper_run::OutFolder;

/// How to continue an interrupted run.
pub(crate) fn go_on(run: &Path) -> String {
    go_on_with("train", run)
}

/// How to continue what a command had begun in a folder.
pub(crate) fn go_on_with(command: &str, folder: &Path) -> String {
    let shown = folder.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "-_./:+@%,=~".contains(c);
    let shown = match shown.chars().all(plain) {
        true => shown,
        false => format!("'{}'", shown.replace('\'', "'\\''")),
    };
    format!("continue with: taper {command} --resume {shown}")
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
