//! Tests that cannot run here, counted.

use std::{
    env,
    fmt::Display,
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
    thread,
};

/// Names the file that skipped tests are written to, a line each.
const SKIPPED_TESTS: &str = "TAPER_SKIPPED_TESTS";

/// Says that the test of this thread cannot run, and why. `cargo xtask test` counts what is skipped
/// so, by the file that the variable `TAPER_SKIPPED_TESTS` names.
///
/// # Panics
/// If that file cannot be written: a skip that nobody counts would look like a test that passed.
#[allow(clippy::print_stdout)]
pub fn skip(reason: impl Display) {
    let line = line(&reason);
    print!("{line}");
    if let Some(path) = env::var_os(SKIPPED_TESTS) {
        append(path.as_ref(), &line);
    }
}

fn line(reason: &dyn Display) -> String {
    format!("skipped: {}: {reason}\n", thread::current().name().unwrap_or("a test"))
}

/// One write, so that the lines of tests that run side by side stay whole.
fn append(path: &Path, line: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(line.as_bytes()).unwrap();
}

/// A file or folder of `../shared`, beside the workspace. Where there is none, the test is skipped.
pub fn shared(path: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    if let Ok(found) = root.join(path).canonicalize() {
        return Some(found);
    }
    // xtask knows these words: without the folder, this is no skip that could be avoided.
    if root.exists() {
        skip(format_args!("no {path} in ../shared"));
    } else {
        skip(format_args!("no ../shared on this machine, for its {path}"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_the_test_and_add_up() {
        let said = line(&"no c++");
        assert!(said.ends_with("lines_name_the_test_and_add_up: no c++\n"), "{said}");
        let path = env::temp_dir().join(format!("taper-skips-{}", std::process::id()));
        append(&path, &said);
        append(&path, &said);
        let list = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(list, format!("{said}{said}"));
    }
}
