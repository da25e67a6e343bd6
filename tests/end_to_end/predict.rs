//! `taper predict` on many pictures, `taper info`, and what `taper evaluate` leaves behind.

use std::{fs, io::Write as _, path::Path, process::Stdio};

use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::{Field, Row, RowAccessor},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{QUICK, Ran, pictures, run, taper, zip};

const MODEL: &str = "run/model.safetensors";

/// Pictures, and a model that was trained on them.
fn trained() -> TempDir {
    let folder = pictures();
    run(folder.path(), &QUICK).expect(0);
    folder
}

fn lines(ran: &Ran) -> Vec<Value> {
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn paths(ran: &Ran) -> Vec<String> {
    lines(ran).iter().map(|line| line["path"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn pictures_can_be_given_in_every_way() {
    let folder = trained();
    let here = folder.path();
    zip(&here.join("data"), &here.join("data.zip"));
    fs::write(here.join("data/list.csv"), "id;path\n1;test/red/00.jpg\n2;test/blue/01.jpg\n")
        .unwrap();
    fs::write(here.join("data/list.jsonl"), "{\"file_name\": \"test/red/00.jpg\"}\n").unwrap();
    fs::write(here.join("data/test/notes.md"), "no picture").unwrap();
    let predict = |inputs: &[&str]| {
        let ran = run(here, &[&["predict", MODEL, "--json"], inputs].concat()).expect(0);
        (paths(&ran), ran.stderr)
    };
    let (of_folder, remarks) = predict(&["data/test"]);
    assert_eq!(of_folder.len(), 10);
    assert_eq!(of_folder[0], "data/test/blue/00.jpg");
    assert!(remarks.contains("notes.md"), "{remarks}");
    let (all, _) = predict(&["data"]);
    assert_eq!(all.len(), 24 + 8 + 10);
    let (of_zip, _) = predict(&["data.zip"]);
    assert_eq!(of_zip.len(), 42);
    assert!(of_zip.contains(&"data.zip/test/red/00.jpg".to_owned()), "{of_zip:?}");
    let (of_pattern, _) = predict(&["data/test/*/0[01].jpg"]);
    assert_eq!(of_pattern.len(), 4);
    let two = ["data/test/red/00.jpg", "data/test/blue/01.jpg"];
    assert_eq!(predict(&["data/list.csv"]).0, two);
    assert_eq!(predict(&["data/list.jsonl"]).0, two[..1]);
    // In the given order, each once.
    assert_eq!(predict(&[two[0], two[1], two[0]]).0, two);

    let mut command = taper(here);
    command.args(["predict", MODEL, "--json", "-"]).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"data/test/red/00.jpg\n\ndata/val\n").unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap()).expect(0);
    assert_eq!(paths(&ran).len(), 1 + 8);
}

#[test]
fn what_cannot_be_read_is_named() {
    let folder = trained();
    let here = folder.path();
    fs::create_dir(here.join("empty")).unwrap();
    fs::write(here.join("columns.csv"), "name,label\na,b\n").unwrap();
    for (inputs, code, words) in [
        (&["empty"][..], 2, &["empty", "no pictures"][..]),
        (&["none/*.jpg"], 2, &["none/*.jpg", "nothing has a name like this"]),
        (&["columns.csv"], 2, &["columns.csv", "name, label", "path"]),
        (&["data", "--top", "1", "--out", "a.csv"], 2, &["--top", "--out"]),
        (&["data", "--top", "1", "--copy-to", "a"], 2, &["--top", "--copy-to", "--json"]),
        (&["data", "--dry-run"], 2, &["--dry-run", "--copy-to", "--move-to"]),
        (&["data", "--min-probability", "0.5"], 2, &["--min-probability", "--copy-to"]),
        (&["data", "--overwrite"], 2, &["--overwrite", "--out"]),
        (&["data", "--copy-to", "a", "--move-to", "b"], 2, &["--copy-to", "--move-to"]),
        (
            &["data", "--copy-to", "a", "--min-probability", "2"],
            2,
            &["--min-probability", "0 to 1"],
        ),
        (&["data", "--copy-to", "a", "--dry-run", "--out", "a.csv"], 2, &["--out", "--dry-run"]),
        (&["data", "--weights", "w"], 2, &["--model"]),
    ] {
        run(here, &[&["predict", MODEL], inputs].concat()).complains(code, words);
    }
    fs::write(here.join("text.jpg"), "no picture").unwrap();
    let ran = run(here, &["predict", MODEL, "text.jpg", "data/test", "missing.jpg"]).expect(3);
    assert_eq!(ran.stdout.lines().count(), 10);
    assert!(ran.stderr.contains("error: text.jpg: "), "{ran:#?}");
    assert!(ran.stderr.contains("error: missing.jpg: "), "{ran:#?}");
}

#[test]
fn a_table_says_what_the_lines_say() {
    let folder = trained();
    let here = folder.path();
    fs::write(here.join("data/test/red/zz.jpg"), "no picture").unwrap();
    let said = run(here, &["predict", MODEL, "data/test", "--json"]).expect(3);
    let said = lines(&said);
    let table = |out: &str, more: &[&str]| {
        run(here, &[&["predict", MODEL, "data/test", "--out", out], more].concat())
    };
    table("p.csv", &[]).expect(3);
    let text = fs::read_to_string(here.join("p.csv")).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0], ["path", "label", "probability", "blue", "red", "unfamiliar"]);
    assert_eq!(rows.len(), 1 + 11);
    for (row, line) in rows[1..].iter().zip(&said) {
        assert_eq!(row[0], line["path"]);
        if line["error"].is_string() {
            assert_eq!(row[1..], ["", "", "", "", ""]);
            continue;
        }
        assert_eq!(row[1], line["label"]);
        let number = |text: &str| text.parse::<f64>().unwrap();
        assert_eq!(number(row[2]), line["probability"].as_f64().unwrap());
        assert_eq!(number(row[4]), line["probabilities"]["red"].as_f64().unwrap());
    }
    let answer = table("p.jsonl", &["--json"]).expect(3).json();
    assert_eq!(answer["pictures"], 10);
    assert_eq!(answer["unreadable"][0]["path"], "data/test/red/zz.jpg");
    let text = fs::read_to_string(here.join("p.jsonl")).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows, said);

    table("p.parquet", &[]).expect(3);
    let file = fs::File::open(here.join("p.parquet")).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    let rows: Vec<Row> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    assert_eq!(rows.len(), said.len());
    for (row, line) in rows.iter().zip(&said) {
        let names: Vec<&String> = row.get_column_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["path", "label", "probability", "blue", "red", "unfamiliar"]);
        assert_eq!(row.get_string(0).unwrap(), line["path"].as_str().unwrap());
        if line["error"].is_string() {
            assert!(row.get_column_iter().skip(1).all(|(_, field)| *field == Field::Null));
            continue;
        }
        assert_eq!(row.get_string(1).unwrap(), line["label"].as_str().unwrap());
        assert_eq!(row.get_double(2).unwrap(), line["probability"].as_f64().unwrap());
        assert_eq!(row.get_double(4).unwrap(), line["probabilities"]["red"].as_f64().unwrap());
    }

    table("p.csv", &[]).complains(2, &["'p.csv' exists", "--overwrite"]);
    table("p.csv", &["--overwrite"]).expect(3);
    table("p.xlsx", &[]).complains(2, &["--out is p.xlsx", ".parquet"]);
    table("none/p.csv", &[]).complains(2, &["--out", "no folder none"]);
}

fn names(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return all };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        match entry.path().is_dir() {
            true => all.extend(names(&entry.path()).iter().map(|below| format!("{name}/{below}"))),
            false => all.push(name),
        }
    }
    all.sort();
    all
}

#[test]
fn pictures_are_sorted_into_folders_and_nothing_is_replaced() {
    let folder = trained();
    let here = folder.path();
    let all = names(&here.join("data"));
    let sort = |more: &[&str]| run(here, &[&["predict", MODEL, "data/test"], more].concat());
    let dry = sort(&["--copy-to", "sorted", "--dry-run"]).expect(0).stdout;
    assert!(dry.contains("would copy data/test/red/00.jpg to sorted/red/00.jpg"), "{dry}");
    assert!(!here.join("sorted").exists());

    fs::create_dir_all(here.join("sorted/red")).unwrap();
    fs::write(here.join("sorted/red/00.jpg"), "precious").unwrap();
    sort(&["--copy-to", "sorted", "--out", "p.csv"]).expect(0);
    assert_eq!(fs::read(here.join("sorted/red/00.jpg")).unwrap(), b"precious");
    let copied = names(&here.join("sorted"));
    assert_eq!(copied.len(), 11, "{copied:?}");
    assert!(copied.contains(&"red/00-2.jpg".to_owned()), "{copied:?}");
    let original = fs::read(here.join("data/test/red/00.jpg")).unwrap();
    assert_eq!(fs::read(here.join("sorted/red/00-2.jpg")).unwrap(), original);
    assert_eq!(names(&here.join("data")), all, "copying leaves the originals");

    // Nothing is certain to 1: all of them are unsure. Names from several folders do not clash.
    let every = ["--move-to", "moved", "--min-probability", "1", "--json"];
    let moved = lines(&sort(&every).expect(0));
    assert_eq!(moved.len(), 10);
    assert!(moved[0]["to"].as_str().unwrap().starts_with("moved/_unsure/"), "{:?}", moved[0]);
    assert_eq!(names(&here.join("moved")).len(), 10);
    assert!(names(&here.join("data/test")).is_empty());
    // What lies where it belongs stays there.
    let again = ["predict", MODEL, "moved", "--move-to", "moved", "--min-probability", "1"];
    let before = names(&here.join("moved"));
    run(here, &again).expect(0);
    assert_eq!(names(&here.join("moved")), before);

    zip(&here.join("data"), &here.join("data.zip"));
    let from_zip = |flag: &str| run(here, &["predict", MODEL, "data.zip", flag, "unpacked"]);
    from_zip("--move-to").complains(2, &["--move-to", "data.zip/", "--copy-to"]);
    from_zip("--copy-to").expect(0);
    assert_eq!(names(&here.join("unpacked")).len(), 24 + 8);
    fs::write(here.join("file"), "").unwrap();
    run(here, &["predict", MODEL, "data", "--copy-to", "file"])
        .complains(2, &["--copy-to is file"]);
}

#[test]
fn a_model_says_what_it_is() {
    let folder = trained();
    let here = folder.path();
    let info = run(here, &["info", MODEL, "--json"]).expect(0).json();
    assert_eq!(info["classes"], serde_json::json!(["blue", "red"]));
    assert_eq!(info["model"], "efficientnet-lite0");
    assert_eq!(info["licence"], "Apache-2.0");
    assert_eq!(info["preprocessing"]["size"], 64);
    let figures = &info["figures"];
    let evaluation = fs::read_to_string(here.join("run/evaluation.json")).unwrap();
    let evaluation: Value = serde_json::from_str(&evaluation).unwrap();
    for part in ["validation", "test"] {
        assert_eq!(figures[part]["accuracy"], evaluation[part]["accuracy"], "{part}");
        assert_eq!(figures[part]["pictures"], evaluation[part]["n"], "{part}");
    }
    let digest = info["sha256"].as_str().unwrap();
    assert_eq!(digest.len(), 64);
    let recipe = info["recipe"].as_str().unwrap();
    // No path of this machine travels with a model.
    assert!(recipe.contains("data = \"data\"") && !recipe.contains("data_path"), "{recipe}");
    let said = run(here, &["info", MODEL]).expect(0).stdout;
    for words in ["blue, red", "64 × 64 pixels", "Apache-2.0", digest, "  epochs = 3", "untouched"]
    {
        assert!(said.contains(words), "'{words}' is missing: {said}");
    }
    let foreign =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../zoo/assets/efficientnet-lite0-f16.safetensors");
    run(here, &["info", foreign]).complains(2, &["not written by Taper"]);
    // Files of another kind where a model, pictures or data are wanted.
    let embed = ["embed", "--data", "data", "--size", "64", "--out", "e.safetensors", "-q"];
    run(here, &embed).expect(0);
    fs::write(here.join("no.toml"), [0xff; 16]).unwrap();
    for other in ["run/recipe.toml", "e.safetensors", "run/history.csv", "data/test/red/00.jpg"] {
        run(here, &["info", other]).complains(2, &[other]);
        run(here, &["predict", other, "data"]).complains(2, &[other]);
        run(here, &["evaluate", other, "--data", "data"]).complains(2, &[other]);
    }
    for other in ["run/recipe.toml", "e.safetensors", MODEL, "no.toml"] {
        run(here, &["predict", MODEL, other]).complains(2, &[other, "no picture"]);
        run(here, &["evaluate", MODEL, "--data", other]).complains(2, &[other]);
        run(here, &["inspect", "--data", other]).complains(2, &[other]);
        let weights = ["train", "data", "--size", "64", "--weights", other, "--out", "no"];
        if !other.ends_with("safetensors") {
            run(here, &weights).complains(2, &[other]);
        }
    }
    run(here, &["train", "no.toml"]).complains(2, &["no.toml", "not a recipe"]);
    // Of several arguments, those that are no pictures are reported.
    run(here, &["predict", MODEL, "run/recipe.toml", "data/test/red/00.jpg"]).expect(3);
    run(here, &["info", "nowhere.safetensors"]).complains(2, &["nowhere.safetensors"]);
    let old = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/fixtures/version-1.safetensors");
    let said = run(here, &["info", old]).expect(0).stdout;
    assert!(said.contains("not recorded"), "{said}");
}

#[test]
fn an_evaluation_has_the_tables_and_pictures_of_a_training() {
    let folder = trained();
    let here = folder.path();
    let evaluate = ["evaluate", MODEL, "--data", "data"];
    let said = run(here, &[&evaluate[..], &["--out", "figures"]].concat()).expect(0).stdout;
    for words in ["precision  recall     f1  pictures", "macro f1", "balanced accuracy"] {
        assert!(said.contains(words), "'{words}' is missing: {said}");
    }
    for file in ["evaluation.json", "confusion.png", "confusion.svg"] {
        assert!(fs::metadata(here.join("figures").join(file)).unwrap().len() > 100, "{file}");
    }
    let written = fs::read_to_string(here.join("figures/evaluation.json")).unwrap();
    let written: Value = serde_json::from_str(&written).unwrap();
    let training = fs::read_to_string(here.join("run/evaluation.json")).unwrap();
    let training: Value = serde_json::from_str(&training).unwrap();
    for key in ["accuracy", "macro_f1", "confusion", "n"] {
        assert_eq!(written[key], training["test"][key], "{key}");
    }
    for (split, n) in [("train", 24.0), ("val", 8.0), ("all", 42.0)] {
        let out = format!("of-{split}");
        let own = ["--split", split, "--out", &out, "--json"];
        let answer = run(here, &[&evaluate[..], &own].concat()).expect(0).json();
        assert_eq!((answer["n"].as_f64(), &answer["out"]), (Some(n), &Value::from(out.clone())));
        assert!(here.join(out).join("confusion.png").is_file());
    }
    run(here, &[&evaluate[..], &["--out", "figures"]].concat())
        .complains(2, &["'figures' exists", "--out"]);
}

#[test]
fn the_users_own_folder_is_not_marked_and_nothing_is_copied_twice() {
    let folder = trained();
    let here = folder.path();
    // Into a class's own folder, an empty folder, and one below the data.
    for target in ["data/train/red", "ready", "data/more"] {
        fs::create_dir_all(here.join(target)).unwrap();
        let sort = ["predict", MODEL, "data/test", "--copy-to", target, "--quiet"];
        run(here, &sort).expect(0);
        assert!(!here.join(target).join(".taper-output").exists(), "{target}");
        // What is sorted into it does not become part of the class that it is, nor a class.
        assert!(here.join(target).join("blue/.taper-output").exists(), "{target}");
        let once = names(&here.join(target));
        run(here, &sort).expect(0);
        assert_eq!(names(&here.join(target)), once, "{target}");
        fs::remove_dir_all(here.join(target).join("blue")).unwrap();
    }
    let fresh = ["predict", MODEL, "data/test", "--copy-to", "fresh", "--quiet"];
    run(here, &fresh).expect(0);
    assert!(here.join("fresh/.taper-output").exists());
    assert!(!here.join("fresh/blue/.taper-output").exists());
    let once = names(&here.join("fresh"));
    run(here, &fresh).expect(0);
    assert_eq!(names(&here.join("fresh")), once);
}

#[test]
fn pictures_that_cannot_be_read_are_rows_wherever_they_lie() {
    let folder = trained();
    let here = folder.path();
    let odd = ["x.heic", "x.avif", "x.pfm", "x.ff"];
    fs::create_dir(here.join("odd")).unwrap();
    let jpeg = fs::read(here.join("data/test/red/00.jpg")).unwrap();
    let mut zip = zip::ZipWriter::new(fs::File::create(here.join("odd.zip")).unwrap());
    for (name, content) in odd.map(|name| (name, &b"whatever"[..])).into_iter().chain([
        ("noext", jpeg.as_slice()),
        ("y.jpg.bak", jpeg.as_slice()),
        ("notes", b"text"),
    ]) {
        fs::write(here.join("odd").join(name), content).unwrap();
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap();
    for input in ["odd", "odd.zip"] {
        let ran = run(here, &["predict", MODEL, input, "--json"]).expect(3);
        let rows = lines(&ran);
        assert_eq!(rows.len(), 6, "{ran:#?}");
        for name in odd {
            let own = rows.iter().find(|row| row["path"] == format!("{input}/{name}")).unwrap();
            assert!(own["error"].as_str().unwrap().contains("not supported"), "{own}");
        }
        assert!(ran.stderr.contains("notes"), "{ran:#?}");
    }
    // One that is too large: the advice names an option that there is.
    let ran = run(here, &["predict", MODEL, "odd/noext", "--max-pixels", "10", "--json"]).expect(3);
    assert!(ran.stdout.contains("--max-pixels"), "{ran:#?}");
    let evaluate = ["evaluate", MODEL, "--data", "data", "--max-pixels", "5000", "--json"];
    let answer = run(here, &evaluate).expect(3).json();
    let reason = answer["unreadable"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("--max-pixels") && !reason.contains('`'), "{reason}");
}

#[test]
fn lists_are_read_as_manifests_are() {
    let folder = trained();
    let here = folder.path();
    for (name, text, found) in [
        ("ids.csv", "id\ndata/test/red/00\n", "data/test/red/00.jpg"),
        ("list.csv", "path\ntest/red/00.jpg\n", "data/test/red/00.jpg"),
        ("list.txt", "test/red/01.jpg\n", "data/test/red/01.jpg"),
    ] {
        fs::write(here.join(name), text).unwrap();
        let ran = run(here, &["predict", MODEL, name, "--json"]).expect(0);
        assert_eq!(paths(&ran), [found], "{name}");
    }
}

/// A list to train on can be given as it is.
#[test]
fn labels_behind_the_paths_of_a_list_are_no_part_of_them() {
    let folder = trained();
    let here = folder.path();
    let lines = "# a comment\ndata/test/blue/00.jpg blue\ndata/test/red/01.jpg\t1\n";
    fs::write(here.join("list.txt"), lines).unwrap();
    fs::write(here.join("bare.csv"), "data/test/blue/00.jpg,blue\ndata/test/red/01.jpg,red\n")
        .unwrap();
    let ran = run(here, &["predict", "run/model.safetensors", "list.txt", "--json"]).expect(0);
    assert_eq!(ran.stdout.lines().count(), 2, "{ran:#?}");
    run(here, &["predict", "run/model.safetensors", "bare.csv"]).complains(2, &["path", "first"]);
}
