//! Reports, and maps of what spoke for an answer.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    layouts::write,
    support::{pictures, quick_with, run},
};

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_training_leaves_a_report_and_its_predictions() {
    let folder = pictures();
    let here = folder.path();
    let answer = run(here, &quick_with(&["--out", "run", "--json"])).expect(0).json();
    let html = read(&here.join("run/report.html"));
    for (id, title) in [
        ("verdict", "How good it is"),
        ("next", "What to do next"),
        ("data", "Data and splits"),
        ("classes", "Classes"),
        ("confusion", "What is taken for what"),
        ("calibration", "What its probabilities mean"),
        ("curves", "How training went"),
        ("details", "Network, recipe, versions"),
    ] {
        assert!(html.contains(&format!("id=\"{id}\"")), "{id}");
        assert!(html.contains(title), "{title}");
    }
    // 20 pictures of a class are few enough to be told, and 6 validation pictures too.
    assert!(html.contains("Validation has only"), "advice");
    assert!(!html.contains("http://") || !html.contains("src=\"http"), "network");

    let table = read(&here.join("run/predictions.csv"));
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("path,split,label,predicted,probability,label_probability"));
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    let of = |split: &str| rows.iter().filter(|row| row[1] == split).collect::<Vec<_>>();
    let pictures = &answer["pictures"];
    assert_eq!(of("val").len() as u64, pictures[1].as_u64().unwrap());
    assert_eq!(of("test").len() as u64, pictures[2].as_u64().unwrap());
    let right = of("test").iter().filter(|row| row[2] == row[3]).count() as f64;
    let accuracy = answer["test"]["accuracy"].as_f64().unwrap();
    assert!((right / of("test").len() as f64 - accuracy).abs() < 1e-9, "{table}");
    // The same bytes again, times and places aside.
    run(here, &quick_with(&["--out", "again"])).expect(0);
    assert_eq!(table, read(&here.join("again/predictions.csv")));
}

#[test]
fn names_are_text_in_reports() {
    let folder = pictures();
    let here = folder.path();
    let hostile = "<script>alert('1')&\"x";
    let hebrew = "\u{5e9}\u{5dc}\u{5d5}\u{5dd}";
    for (class, colour) in [(hostile, "blue"), (hebrew, "red")] {
        write(&here.join("odd/train").join(class), colour, 0, 20);
        write(&here.join("odd/test").join(class), colour, 40, 8);
    }
    run(here, &quick_with(&["--data", "odd", "--out", "run"])).expect(0);
    run(here, &["evaluate", "run", "--data", "odd", "--report", "other.html"]).expect(0);
    let inspect = ["inspect", "--data", "odd", "--no-embeddings", "--out", "health"];
    run(here, &[&inspect[..], &["--report", "data.html"]].concat()).expect(0);
    for file in ["run/report.html", "other.html", "data.html"] {
        let html = read(&here.join(file));
        assert!(!html.contains("<script>alert"), "{file}");
        assert!(html.contains("&lt;script&gt;alert"), "{file}");
        assert!(html.contains(hebrew), "{file}");
        assert_eq!(html.matches("<script").count(), 1, "{file}");
    }
}

#[test]
fn a_report_replaces_nothing() {
    let folder = pictures();
    let here = folder.path();
    run(here, &quick_with(&["--out", "run"])).expect(0);
    fs::write(here.join("mine.html"), "mine").unwrap();
    for command in [
        &["evaluate", "run", "--data", "data"][..],
        &["inspect", "--data", "data", "--no-embeddings"],
        &["compare", "run", "run"],
    ] {
        let to = |file: &'static str| [command, &["--report", file]].concat();
        run(here, &to("mine.html")).complains(2, &["--report is 'mine.html'", "choose another"]);
        run(here, &to("no/such.html")).complains(2, &["--report", "no such folder"]);
    }
    assert_eq!(read(&here.join("mine.html")), "mine");
}

#[test]
fn several_runs_are_compared_in_one_page() {
    let folder = pictures();
    let here = folder.path();
    for (out, epochs) in [("one", "1"), ("two", "8"), ("three", "20")] {
        run(here, &quick_with(&["--epochs", epochs, "--out", out])).expect(0);
    }
    let compare = ["compare", "one", "two", "three", "--report", "all.html", "--json"];
    let compared = run(here, &compare).expect(0).json();
    assert_eq!(compared.as_array().map(Vec::len), Some(2), "{compared}");
    let html = read(&here.join("all.html"));
    for part in ["Is it more than chance?", "In what they differ", "epochs", "How they were"] {
        assert!(html.contains(part), "{part}");
    }
    // Two as before.
    let two = run(here, &["compare", "one", "two", "--json"]).expect(0).json();
    assert_eq!(two["compared"], "pictures");
}

#[test]
fn several_trainings_and_studies_have_a_report() {
    let folder = pictures();
    let here = folder.path();
    run(here, &quick_with(&["--seeds", "2", "--out", "seeds"])).expect(0);
    for file in ["seeds/report.html", "seeds/seed-0/report.html", "seeds/seed-1/report.html"] {
        assert!(read(&here.join(file)).contains("How good it is"), "{file}");
    }
    let tune = ["tune", "--data", "data", "--trials", "2", "--out", "study", "--epochs", "2"];
    run(here, &tune).expect(0);
    let html = read(&here.join("study/report.html"));
    assert!(html.contains("The best trial") && html.contains("All trials"));
}

#[test]
fn answers_are_explained_by_maps() {
    let folder = pictures();
    let here = folder.path();
    run(here, &quick_with(&["--out", "run"])).expect(0);
    fs::write(here.join("broken.png"), "no picture").unwrap();
    let explain = ["predict", "run", "data/test/red", "broken.png", "--explain", "maps", "--json"];
    let ran = run(here, &explain).expect(3);
    let rows: Vec<Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.iter().filter(|row| row["explained"].is_string()).count(), rows.len() - 1);
    let first = rows[0]["explained"].as_str().unwrap();
    let (made, own) = (here.join(first), here.join(rows[0]["path"].as_str().unwrap()));
    let (made, own) = (image::open(made).unwrap().to_rgb8(), image::open(own).unwrap().to_rgb8());
    assert_eq!(made.dimensions(), own.dimensions());
    assert_ne!(made, own);
    // Nothing is replaced.
    let again = run(here, &explain).expect(3);
    let row: Value = serde_json::from_str(again.stdout.lines().next().unwrap()).unwrap();
    assert!(row["explained"].as_str().unwrap().ends_with("-2.png"), "{row}");
    fs::write(here.join("file"), "").unwrap();
    let to_file = ["predict", "run", "data/test/red", "--explain", "file"];
    run(here, &to_file).complains(2, &["--explain is file", "give a folder"]);
    let pretrained = ["predict", "--model", "efficientnet-lite0", "data", "--explain", "maps"];
    run(here, &pretrained).complains(2, &["--explain", "--model"]);
}
