//! Lists of pictures' paths: CSV with a column of paths, JSONL, or one path a line.

use std::path::{Path, PathBuf};

use serde_json::Value;
use taper_core::OutOfRange;
use taper_path_lists::{decode, delimiter, find_files, path_of_line, told_delimiter};
use taper_sources::path_column;

use taper_run::{Error, Result};

/// Whether a file with this extension, in small letters, is a list.
pub(crate) fn is_list(extension: &str) -> bool {
    matches!(extension, "csv" | "tsv" | "jsonl" | "ndjson" | "txt")
}

/// The paths in a list, found as those of a manifest: relative to its folder or the one folder
/// beside it that has them, with extensions filled in. `remarks` says what is unusual.
pub(crate) fn read(list: &Path, remarks: &mut Vec<String>) -> Result<Vec<PathBuf>> {
    let bytes = std::fs::read(list).map_err(Error::io("read", list))?;
    let (text, guessed) = decode(&bytes);
    if guessed {
        remarks.push(format!("{} is not UTF-8 and is read as Windows-1252", list.display()));
    }
    let extension = list.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let paths = match extension.as_str() {
        "csv" | "tsv" => of_table(list, &text)?,
        "txt" => {
            let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
            // A list to train on has labels behind the paths.
            lines.map(|line| path_of_line(line).to_owned()).collect()
        }
        _ => of_objects(list, &text)?,
    };
    let mut paths: Vec<Box<str>> =
        paths.into_iter().filter(|path| !path.is_empty()).map(Box::from).collect();
    if paths.is_empty() {
        return Err(Error::NoInput { place: list.display().to_string() });
    }
    let folder = match find_files(list, &mut paths, remarks) {
        Ok(folder) => folder,
        // Each is reported in its turn.
        Err(taper_path_lists::Error::NoFiles { .. }) => {
            list.parent().unwrap_or(Path::new("")).into()
        }
        Err(error) => return Err(taper_sources::Error::from(error).into()),
    };
    Ok(paths.iter().map(|path| folder.join(&**path)).collect())
}

fn wrong(list: &Path, remedy: String) -> Error {
    OutOfRange::new("input", format!("'{}'", list.display()), remedy).into()
}

fn of_table(list: &Path, text: &str) -> Result<Vec<String>> {
    let (told, text) = told_delimiter(text);
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(told.unwrap_or_else(|| delimiter(text)))
        .flexible(true)
        .from_reader(text.as_bytes());
    let fail = |error: csv::Error| wrong(list, format!("it is no valid CSV ({error})"));
    let names: Vec<String> = reader.headers().map_err(fail)?.iter().map(String::from).collect();
    let Some(column) = path_column(names.iter().map(String::as_str)) else {
        let remedy = format!(
            "it has not exactly one column with the name of one of paths; its columns are {}: name one of them path, or put a line with the names before the first picture",
            names.join(", ")
        );
        return Err(wrong(list, remedy));
    };
    let mut paths = Vec::new();
    for record in reader.records() {
        let record = record.map_err(fail)?;
        paths.extend(record.get(column).map(|path| path.trim().to_owned()));
    }
    Ok(paths)
}

fn of_objects(list: &Path, text: &str) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let value: Value = serde_json::from_str(line)
            .map_err(|error| wrong(list, format!("line {number} is no valid JSON ({error})")))?;
        let field = || {
            let names: Vec<&String> = value.as_object()?.keys().collect();
            let at = path_column(names.iter().map(|name| name.as_str()))?;
            value[names[at]].as_str()
        };
        let Some(path) = value.as_str().or_else(field) else {
            let remedy = format!("line {number} has no path: give every object a field path");
            return Err(wrong(list, remedy));
        };
        paths.push(path.to_owned());
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_every_kind_are_read_relative_to_themselves() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        for (name, text) in [
            ("a.csv", "id,path\n1,x.jpg\n2,\"y,z.jpg\"\n"),
            ("b.csv", "\u{feff}File_Name;label\nx.jpg;red\ny,z.jpg;blue\n"),
            ("id.csv", "id,split\nx.jpg,a\n\"y,z.jpg\",b\n"),
            ("c.tsv", "image\tlabel\nx.jpg\tred\ny,z.jpg\tblue\n"),
            ("d.jsonl", "{\"path\": \"x.jpg\"}\n\n\"y,z.jpg\"\n"),
            ("e.txt", "x.jpg\ny,z.jpg\n"),
        ] {
            std::fs::write(here.join(name), text).unwrap();
            let paths = read(&here.join(name), &mut Vec::new()).unwrap();
            assert_eq!(paths, [here.join("x.jpg"), here.join("y,z.jpg")], "{name}");
        }
        let utf16 = "\u{feff}Image\nä.jpg\n".encode_utf16().flat_map(u16::to_le_bytes);
        std::fs::write(here.join("w.csv"), utf16.collect::<Vec<u8>>()).unwrap();
        assert_eq!(read(&here.join("w.csv"), &mut Vec::new()).unwrap(), [here.join("ä.jpg")]);
        for (name, text, words) in [
            ("f.csv", "a,b\n1,2\n", "its columns are a, b"),
            ("g.jsonl", "{\"path\": 1}\n", "line 1 has no path"),
            ("h.jsonl", "{\"path\"\n", "line 1 is no valid JSON"),
            ("i.csv", "path\n", "no pictures"),
        ] {
            std::fs::write(here.join(name), text).unwrap();
            let error = read(&here.join(name), &mut Vec::new()).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains(name), "{error}");
        }
    }

    #[test]
    fn files_are_looked_for_as_those_of_a_manifest() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        std::fs::create_dir(here.join("photos")).unwrap();
        for name in ["a.jpg", "b.png", "photos/c.jpg", "photos/d.jpg"] {
            std::fs::write(here.join(name), "").unwrap();
        }
        for (name, text, found) in [
            ("1.csv", "id\na\nb\n", ["a.jpg", "b.png"]),
            ("2.txt", "c.jpg\nd.jpg\n", ["photos/c.jpg", "photos/d.jpg"]),
            ("3.jsonl", "{\"path\": \"c\"}\n{\"path\": \"d\"}\n", ["photos/c.jpg", "photos/d.jpg"]),
        ] {
            std::fs::write(here.join(name), text).unwrap();
            let mut remarks = Vec::new();
            let paths = read(&here.join(name), &mut remarks).unwrap();
            assert_eq!(paths, found.map(|path| here.join(path)), "{name}");
            assert_eq!(remarks.len(), usize::from(found[0].contains('/')), "{remarks:?}");
        }
    }
}
