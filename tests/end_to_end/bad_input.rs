//! Bad input: an error that names it and says what to do, the right exit code, and nothing left
//! behind.

use std::{collections::HashMap, fs, path::Path};

use safetensors::tensor::{Dtype, TensorView};

use crate::support::{QUICK, pictures, run};

/// Trains on `data` and expects a complaint; nothing may be left of the run.
#[track_caller]
fn refuses(here: &Path, extra: &[&str], code: i32, words: &[&str]) {
    let given = |name: &str| extra.iter().any(|e| e.split('=').next() == Some(name));
    // A flag that is given twice is an error of its own.
    let pairs = QUICK[1..].chunks(2).filter(|pair| !given(pair[0]));
    let mut arguments = vec![QUICK[0]];
    arguments.extend(pairs.flatten());
    arguments.extend(extra);
    run(here, &arguments).complains(code, words);
    assert!(!here.join("run").exists(), "a failed run leaves nothing");
    assert!(!here.join("runs").exists());
}

#[test]
fn folders_that_cannot_be_trained_on() {
    let folder = pictures();
    let here = folder.path();
    let data = here.join("data");

    fs::create_dir(data.join("train/green")).unwrap();
    refuses(here, &[], 1, &["data/train/green", "no pictures"]);
    fs::remove_dir(data.join("train/green")).unwrap();

    fs::create_dir(data.join("test/green")).unwrap();
    fs::copy(data.join("test/red/00.jpg"), data.join("test/green/00.jpg")).unwrap();
    refuses(here, &[], 1, &["'green'", "only in test"]);
    fs::remove_dir_all(data.join("test/green")).unwrap();

    fs::rename(&data, here.join("other")).unwrap();
    refuses(here, &[], 2, &["--data", "no such folder"]);
    fs::create_dir(&data).unwrap();
    refuses(here, &[], 1, &["data", "no pictures"]);
    fs::remove_dir(&data).unwrap();
    fs::write(&data, "a file").unwrap();
    refuses(here, &[], 2, &["data", "this file"]);
}

/// Four kinds of broken pictures and a giant one: named, counted and left out; refused with
/// `--strict`.
#[test]
fn broken_pictures_are_named_and_left_out() {
    let folder = pictures();
    let here = folder.path();
    let train = here.join("data/train/red");
    let good = fs::read(train.join("00.jpg")).unwrap();
    let mut corrupt = good.clone();
    for byte in &mut corrupt[200..] {
        *byte = byte.wrapping_mul(31).wrapping_add(7);
    }
    fs::write(train.join("corrupt.jpg"), corrupt).unwrap();
    fs::write(train.join("truncated.jpg"), &good[..good.len() / 2]).unwrap();
    fs::write(train.join("empty.jpg"), "").unwrap();
    fs::write(train.join("page.jpg"), "<html>not found</html>").unwrap();
    fs::write(train.join("giant.png"), giant_png()).unwrap();

    let mut arguments = QUICK.to_vec();
    arguments.push("--json");
    let ran = run(here, &arguments).expect(3);
    let answer = ran.json();
    let mut named: Vec<&str> = answer["unreadable"]
        .as_array()
        .unwrap()
        .iter()
        .map(|u| u["path"].as_str().unwrap().rsplit('/').next().unwrap())
        .collect();
    named.sort_unstable();
    assert_eq!(named, ["corrupt.jpg", "empty.jpg", "giant.png", "page.jpg", "truncated.jpg"]);
    assert_eq!(answer["pictures"][0], 24);
    assert!(ran.stderr.contains("5 picture(s)") && ran.stderr.contains("60000"), "{}", ran.stderr);

    fs::remove_dir_all(here.join("run")).unwrap();
    refuses(here, &["--strict"], 1, &["train/red/", "strict"]);
}

/// A PNG that claims 60,000 × 60,000 pixels and contains none.
fn giant_png() -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], data: &[u8]| {
        png.extend((data.len() as u32).to_be_bytes());
        let start = png.len();
        png.extend(kind);
        png.extend(data);
        let checksum = crc32(&png[start..]);
        png.extend(checksum.to_be_bytes());
    };
    let mut header = Vec::new();
    header.extend(60_000u32.to_be_bytes());
    header.extend(60_000u32.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    chunk(b"IHDR", &header);
    chunk(b"IDAT", &[0x78, 0x9c, 0x03, 0, 0, 0, 0, 1]);
    chunk(b"IEND", &[]);
    png
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |mut crc, byte| {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
        crc
    })
}

#[test]
fn weights_that_do_not_fit() {
    let folder = pictures();
    let here = folder.path();
    let weights = |change: &dyn Fn(&mut Tensors)| {
        let embedded = include_bytes!("../../crates/zoo/assets/efficientnet-lite0-f16.safetensors");
        let file = safetensors::SafeTensors::deserialize(embedded).unwrap();
        let mut tensors: Tensors = file
            .tensors()
            .into_iter()
            .map(|(name, t)| (name, (t.dtype(), t.shape().to_vec(), t.data().to_vec())))
            .collect();
        change(&mut tensors);
        let views = tensors.iter().map(|(name, (dtype, shape, data))| {
            (name.clone(), TensorView::new(*dtype, shape.clone(), data).unwrap())
        });
        fs::write(here.join("w.safetensors"), safetensors::serialize(views, None).unwrap())
            .unwrap();
    };
    let flags = ["--weights", "w.safetensors"];

    weights(&|tensors| {
        tensors.remove("blocks.2.0.conv_dw.weight");
    });
    refuses(here, &flags, 2, &["w.safetensors", "missing", "blocks.2.0.conv_dw.weight"]);

    weights(&|tensors| {
        let (_, shape, _) = tensors.get_mut("conv_stem.weight").unwrap();
        *shape = vec![3, 32, 3, 3];
    });
    refuses(here, &flags, 2, &["conv_stem.weight", "[3, 32, 3, 3]", "[32, 3, 3, 3]"]);

    weights(&|_| {});
    let whole = fs::read(here.join("w.safetensors")).unwrap();
    for length in [whole.len() / 2, 100, 8, 0] {
        fs::write(here.join("w.safetensors"), &whole[..length]).unwrap();
        // An empty file is one of another kind, not a damaged one.
        let code = if length == 0 { 2 } else { 1 };
        refuses(here, &flags, code, &["w.safetensors"]);
    }
    refuses(here, &["--weights", "nowhere.safetensors"], 2, &["nowhere.safetensors"]);
    fs::write(here.join("w.safetensors"), &whole).unwrap();
    let mut arguments = QUICK.to_vec();
    arguments.extend(flags);
    run(here, &arguments).expect(0);
}

type Tensors = HashMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

#[test]
fn arguments_out_of_range() {
    let folder = pictures();
    let here = folder.path();
    refuses(here, &["--model", "resnet-50"], 2, &["'resnet-50'", "resnet50"]);
    refuses(here, &["--batch-size", "0"], 2, &["--batch-size", "0"]);
    refuses(here, &["--learning-rate", "nan"], 2, &["--learning-rate"]);
    refuses(here, &["--head", "tutorail"], 2, &["--head", "tutorial"]);
    refuses(here, &["--val", "1.5"], 2, &["--val", "fraction"]);
    refuses(here, &["--epoch", "3"], 2, &["--epoch", "--epochs"]);
    refuses(here, &["--views", "0"], 2, &["--views"]);
    let mut arguments = QUICK.to_vec();
    arguments[4] = "16";
    run(here, &arguments).complains(2, &["16 × 16", "at least 32"]);
    fs::write(here.join("r.toml"), "epochs = 2\nlearning-rate = 1\n").unwrap();
    run(here, &["train", "r.toml"]).complains(2, &["r.toml", "line 2", "learning_rate"]);
}

#[test]
fn an_output_folder_that_exists_is_left_alone() {
    let folder = pictures();
    let here = folder.path();
    fs::create_dir(here.join("run")).unwrap();
    fs::write(here.join("run/precious"), "work").unwrap();
    run(here, &QUICK).complains(2, &["'run'", "exists", "--out"]);
    assert_eq!(fs::read_to_string(here.join("run/precious")).unwrap(), "work");
}

#[cfg(not(feature = "cuda"))]
#[test]
fn cuda_in_a_build_without_it() {
    let folder = pictures();
    refuses(folder.path(), &["--device", "cuda:1"], 2, &["cuda:1", "--features cuda"]);
    refuses(folder.path(), &["--device", "gpu"], 2, &["gpu", "cuda:N"]);
}

#[test]
fn models_and_pictures_that_cannot_be_predicted() {
    let folder = pictures();
    let here = folder.path();
    run(here, &QUICK).expect(0);
    let model = "run/model.safetensors";
    run(here, &["predict", model]).complains(2, &["picture"]);
    run(here, &["predict", "nothing.safetensors", "a.jpg"])
        .complains(2, &["nothing.safetensors", "no such file"]);
    let foreign =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../zoo/assets/efficientnet-lite0-f16.safetensors");
    run(here, &["predict", foreign, "a.jpg"])
        .complains(2, &["cannot be used as a model", "not written by Taper"]);

    fs::write(here.join("text.jpg"), "no picture").unwrap();
    let arguments = ["predict", model, "--json", "text.jpg", "data/test/red/00.jpg", "missing.jpg"];
    let ran = run(here, &arguments).expect(3);
    let lines: Vec<serde_json::Value> =
        ran.stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0]["error"].is_string() && lines[2]["error"].is_string(), "{lines:?}");
    assert!(lines[1]["label"].is_string());

    fs::rename(here.join("data/test/red"), here.join("data/test/rot")).unwrap();
    fs::rename(here.join("data/train/red"), here.join("data/train/rot")).unwrap();
    fs::rename(here.join("data/val/red"), here.join("data/val/rot")).unwrap();
    run(here, &["evaluate", model, "--data", "data"]).complains(2, &["'rot'", "blue, red"]);
}

/// A rate at which the loss soon becomes NaN: no model is written.
#[test]
fn a_training_that_diverges_says_so() {
    let folder = pictures();
    refuses(folder.path(), &["--learning-rate", "1e38"], 1, &["--learning-rate"]);
}

/// An invalid size is refused, rather than giving a cache that keeps nothing.
#[test]
fn a_cache_size_that_is_no_size_is_wrong_usage() {
    let folder = pictures();
    for size in ["12 pigs", "-1", "nan"] {
        let argument = format!("--cache-size={size}");
        refuses(folder.path(), &[&argument], 2, &["--cache-size", size, "number of GiB"]);
    }
}
