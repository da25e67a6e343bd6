//! Class names in any script, with and without fonts on the machine: plots and sheets show them,
//! and one remark names what no font on the machine has.

use std::{fs, path::Path};

use crate::support::{picture, run};

/// Pictures of two classes in `data/{train,val}`.
fn pictures_of(here: &Path, names: [&str; 2]) {
    for (split, first, count) in [("train", 0, 12), ("val", 20, 4)] {
        for (name, colour) in names.into_iter().zip(["blue", "red"]) {
            let folder = here.join("data").join(split).join(name);
            fs::create_dir_all(&folder).unwrap();
            for n in first..first + count {
                picture(colour, n).save(folder.join(format!("{n:02}.jpg"))).unwrap();
            }
        }
    }
}

/// Dark pixels in the left part of a plot, where the names of the rows are.
fn ink(file: &Path) -> usize {
    let plot = image::open(file).unwrap().into_rgb8();
    let names = plot.width() / 5;
    plot.enumerate_pixels().filter(|(x, _, p)| *x < names && p.0.iter().any(|c| *c < 128)).count()
}

#[test]
fn plots_and_sheets_show_names_in_any_script() {
    let long = "ein sehr langer Name ".repeat(9);
    let mut least = usize::MAX;
    for names in [
        ["blue", "red"],
        ["石头", "はさみ"],
        ["حجر", "מספריים"],
        ["पत्थर", "หิน"],
        ["🐈 кот", "👍🏽"],
        ["\u{10fffd}\u{10fffc}", long.trim_end()],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        pictures_of(here, names);
        let arguments = [
            "train", "--data", "data", "--size", "64", "--epochs", "2", "--out", "run", "--head",
            "linear", "-q",
        ];
        let ran = run(here, &arguments).expect(0);
        // Of warnings only what is to be said about so few pictures, once.
        let (fonts, others): (Vec<&str>, Vec<&str>) =
            ran.stderr.lines().partition(|line| line.starts_with("warning: no font on this"));
        assert!(others.iter().all(|line| line.starts_with("warning: few pictures")), "{ran:#?}");
        // And what no font has, once for all figures.
        assert!(fonts.len() <= 1, "{ran:#?}");
        match names[0] {
            "blue" => assert!(fonts.is_empty(), "{ran:#?}"),
            "\u{10fffd}\u{10fffc}" => assert!(fonts[0].contains("U+10FFFD"), "{ran:#?}"),
            _ => {}
        }
        let svg = fs::read_to_string(here.join("run/confusion.svg")).unwrap();
        assert!(svg.contains(names[0]), "{names:?} {svg}");
        let drawn = ink(&here.join("run/confusion.png"));
        if names[0] == "blue" {
            least = drawn / 4;
        }
        assert!(drawn > least, "{names:?}: {drawn} instead of {least}");

        // A copy gives the inspection something to show.
        let copy = here.join("data/val").join(names[0]).join("copy.jpg");
        fs::copy(here.join("data/train").join(names[0]).join("03.jpg"), copy).unwrap();
        let arguments =
            ["inspect", "--data", "data", "--no-embeddings", "--json", "-q", "--out", "health"];
        let ran = run(here, &arguments).expect(0);
        assert!(ran.stderr.lines().all(|l| l.starts_with("warning: no font on this")), "{ran:#?}");
        assert!(ran.stderr.lines().count() <= 1, "{ran:#?}");
        assert!(here.join("health/duplicates-across-splits.png").is_file());
    }
}

/// People count epochs from 1 and read short rates; files keep their numbers.
#[test]
fn epochs_are_counted_from_one_and_rates_are_short() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    pictures_of(here, ["blue", "red"]);
    let arguments = [
        "train", "--data", "data", "--size", "64", "--epochs", "3", "--out", "run", "--head",
        "linear",
    ];
    let ran = run(here, &arguments).expect(0);
    let epochs: Vec<&str> = ran.stderr.lines().filter(|l| l.starts_with("epoch ")).collect();
    assert_eq!(epochs.len(), 3, "{ran:#?}");
    assert!(epochs[0].starts_with("epoch   1/3 ") && epochs[2].starts_with("epoch   3/3 "));
    let features = ran.stderr.lines().find(|l| l.starts_with("features: ")).unwrap();
    let rate = features.rsplit_once('(').unwrap().1;
    assert!(rate.ends_with("/s)") && rate.len() <= 9, "{features}");
    let history = fs::read_to_string(here.join("run/history.csv")).unwrap();
    assert!(history.lines().nth(1).unwrap().starts_with("0,"), "{history}");
    let svg = fs::read_to_string(here.join("run/curves.svg")).unwrap();
    assert!(svg.contains(">epoch<") && svg.contains("best weights: epoch "), "{svg}");
    let best: usize = {
        let result = fs::read_to_string(here.join("run/result.json")).unwrap();
        let result: serde_json::Value = serde_json::from_str(&result).unwrap();
        result["best_epoch"].as_u64().unwrap() as usize
    };
    assert!(svg.contains(&format!("best weights: epoch {}<", best + 1)), "{best}");
    assert!(ran.stdout.contains(&format!("weights of epoch {}", best + 1)), "{ran:#?}");
}
