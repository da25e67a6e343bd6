//! Runs the program, and makes folders of pictures for it.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Output},
};

use image::{Rgb, RgbImage};
use serde_json::Value;
use tempfile::TempDir;

/// The result of running the program.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The JSON object on the last line.
    pub(crate) fn json(&self) -> Value {
        let last = self.stdout.lines().last().unwrap_or_else(|| panic!("no answer: {self:#?}"));
        serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Checks that it failed with this code, and that the message contains all of these.
    #[track_caller]
    pub(crate) fn complains(self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert!(self.stdout.is_empty(), "an error must not print an answer: {self:#?}");
        for word in words {
            assert!(self.stderr.contains(word), "'{word}' is missing: {self:#?}");
        }
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
    }
}

/// A command of the program, in a folder of its own and without environment variables that affect
/// it.
pub(crate) fn taper(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taper"));
    command.current_dir(folder).env_remove("TAPER_LOG").env("HF_HUB_OFFLINE", "1");
    for variable in
        ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_ENDPOINT", "HF_TOKEN", "HF_TOKEN_PATH"]
    {
        command.env_remove(variable);
    }
    command.env("HF_HOME", folder.join("no-hub-cache")).env("TAPER_CACHE", folder.join("features"));
    command
}

pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Ran {
    Ran::of(taper(folder).args(arguments).output().unwrap())
}

/// A temporary folder with `data/{train,val,test}/{blue,red}` that any network can distinguish.
pub(crate) fn pictures() -> TempDir {
    pictures_from([0; 3])
}

/// The same with other pictures: those of each split begin at this number, so that splits can have
/// none in common.
pub(crate) fn pictures_from([train, val, test]: [u32; 3]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (split, first, count) in [("train", train, 12), ("val", val, 4), ("test", test, 5)] {
        for class in ["blue", "red"] {
            let class_folder = folder.path().join("data").join(split).join(class);
            fs::create_dir_all(&class_folder).unwrap();
            for n in 0..count {
                picture(class, first + n).save(class_folder.join(format!("{n:02}.jpg"))).unwrap();
            }
        }
    }
    folder
}

/// All pictures of the splits in a folder, as a zip file.
pub(crate) fn zip(folder: &Path, file: &Path) {
    let mut zip = zip::ZipWriter::new(fs::File::create(file).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    let options = options.compression_method(zip::CompressionMethod::Stored);
    for split in ["train", "val", "test"] {
        for class in ["blue", "red"] {
            for entry in fs::read_dir(folder.join(split).join(class)).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                zip.start_file(name, options).unwrap();
                zip.write_all(&fs::read(&path).unwrap()).unwrap();
            }
        }
    }
    zip.finish().unwrap();
}

/// Stripes of a class's colour; the number changes everything else.
pub(crate) fn picture(class: &str, n: u32) -> RgbImage {
    RgbImage::from_fn(72 + n, 64 + 2 * n, |x, y| {
        let stripe = if (x / (4 + n % 5) + y / 7).is_multiple_of(2) { 200 } else { 130 };
        let noise = ((x * 31 + y * 17 + n * 101) % 40) as u8;
        match class {
            "red" => Rgb([stripe, noise, noise]),
            _ => Rgb([noise, noise, stripe]),
        }
    })
}

/// A command and its flags with other values for some of them, and further arguments: a flag that
/// is given twice is an error.
pub(crate) fn varied<'a>(command: &[&'a str], others: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec![command[0]];
    let given = |name: &str| others.contains(&name);
    arguments.extend(command[1..].chunks(2).filter(|pair| !given(pair[0])).flatten());
    arguments.extend(others);
    arguments
}

/// [`QUICK`] with other values for some of its flags, and further arguments.
pub(crate) fn quick_with<'a>(others: &[&'a str]) -> Vec<&'a str> {
    varied(&QUICK, others)
}

/// A short training on the pictures, at a small size.
pub(crate) const QUICK: [&str; 11] = [
    "train", "--data", "data", "--size", "64", "--epochs", "3", "--out", "run", "--head", "linear",
];
