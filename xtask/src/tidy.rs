//! What keeps the house tidy: sizes that a reader can hold in the head.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use crate::root;

/// Columns of a line of code or comment.
const COLUMNS: usize = 100;
/// Lines of a file.
const FILE: usize = 700;
/// Lines of a function.
const FUNCTION: usize = 100;
/// Lines of a crate's sources, tests in them included.
const CRATE: usize = 5000;
/// Crates that may be larger: a device is one concept, however much there is to it.
const LARGE_CRATES: [&str; 1] = ["cuda-emulator"];

/// Checks every Rust file of the repository.
///
/// # Errors
/// Names everything that is too long or too large.
pub(crate) fn check() -> anyhow::Result<()> {
    let mut problems = Vec::new();
    for folder in ["crates", "xtask", "tests", "fuzz"] {
        for path in rust_files(&root().join(folder))? {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let name = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
            problems.extend(problems_of(&text).into_iter().map(|p| format!("{name}{p}")));
        }
    }
    for entry in fs::read_dir(root().join("crates"))? {
        let folder = entry?.path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut lines = 0;
        for path in rust_files(&folder.join("src"))? {
            lines += fs::read_to_string(&path)?.lines().count();
        }
        if lines > CRATE && !LARGE_CRATES.contains(&name.as_str()) {
            problems.push(format!("crates/{name}/src has {lines} lines: at most {CRATE}"));
        }
    }
    if problems.is_empty() {
        eprintln!("tidy");
        return Ok(());
    }
    bail!("not tidy:\n{}", problems.join("\n"))
}

/// The Rust files of a folder and of those in it, sorted.
pub(crate) fn rust_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if !folder.exists() {
        return Ok(files);
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// What is too long in a file, each with its place.
fn problems_of(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut problems = Vec::new();
    if lines.len() > FILE {
        problems.push(format!(": {} lines: at most {FILE}", lines.len()));
    }
    for (number, line) in (1..).zip(&lines) {
        let columns = line.chars().count();
        // A text that cannot be broken, such as a message or an address, may be longer.
        if columns > COLUMNS && !line.contains('"') && !line.contains("://") {
            problems.push(format!(":{number}: {columns} columns: at most {COLUMNS}"));
        }
    }
    for (start, line) in lines.iter().enumerate().filter(|(_, line)| begins_function(line)) {
        // rustfmt puts the closing brace at the indentation of the beginning.
        let indent = line.len() - line.trim_start().len();
        let closing = format!("{}}}", " ".repeat(indent));
        let end = lines[start..].iter().position(|line| *line == closing);
        if let Some(length) = end.map(|end| end + 1).filter(|length| *length > FUNCTION) {
            problems
                .push(format!(":{}: a function of {length} lines: at most {FUNCTION}", start + 1));
        }
    }
    problems
}

fn begins_function(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let declared = words.any(|word| word == "fn");
    let code = !line.trim_start().starts_with("//");
    // A declaration without a body, or one of a single line, has no end to look for.
    declared && code && !line.ends_with(';') && !line.ends_with('}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_functions_and_files_are_named() {
        assert!(problems_of("fn f() {\n    1;\n}\n").is_empty());
        let long = format!("// {}\n", "x".repeat(98));
        assert_eq!(problems_of(&long), [":1: 101 columns: at most 100"]);
        let function =
            format!("impl A {{\n    fn f() {{\n{}    }}\n}}\n", "        1;\n".repeat(99));
        assert_eq!(problems_of(&function), [":2: a function of 101 lines: at most 100"]);
        let file = "//\n".repeat(701);
        assert_eq!(problems_of(&file), [": 701 lines: at most 700"]);
    }
}
