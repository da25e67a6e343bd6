//! The reports that trainings write, in headless Chromium.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    drawn::{COLOURS, SHAPES, ppm},
    page::node,
    run,
};

/// Classes whose names would be markup if they were not escaped, that would take other text along
/// if they were not isolated, and one with few pictures.
const CLASSES: [&str; 5] = [
    "disc</td></table><script>alert(1)</script>",
    "\"ring\" & 'bow' &amp; &lt;",
    "<img src=x onerror=alert(1)>",
    "משולש",
    "هلال",
];
/// The class with few pictures.
const TINY: usize = 4;
/// Names of files, likewise. None has a slash, for that no file system allows.
const FILES: [&str; 7] = [
    "<script>alert(1)<script>.ppm",
    "\"><svg onload=alert(1)>.ppm",
    "' autofocus onfocus='alert(1)' & more.ppm",
    "שלום עולם (1).ppm",
    "صورة ١.ppm",
    "javascript:alert(1) ${alert(1)} {{7*7}}.ppm",
    "a_name_without_any_spaces_that_is_longer_than_a_column_or_a_telephone_is_wide_0123456789.ppm",
];
/// A name with a character that turns letters around: U+FFFD has to be in its place.
const TURNED: &str = "turned \u{202e}gpj.ppm";

/// Trains on data sets with faults and with many classes, and looks at these reports and at that of
/// another run.
pub(crate) fn check(
    taper: &Path,
    own: &Path,
    (chromium, axe): (&Path, &Path),
    folder: &Path,
) -> anyhow::Result<()> {
    let (faults, shown) = with_faults(&folder.join("faults-data"))?;
    let hundred = hundred_classes(&folder.join("hundred-data"))?;
    let train = |data: &Path, name: &str, more: &[&str]| -> anyhow::Result<PathBuf> {
        let out = folder.join(name);
        let mut train = Command::new(taper);
        train.args(["train", "--size", "96", "-q", "--data"]).arg(data).arg("--out").arg(&out);
        run(train.args(more))?;
        Ok(out)
    };
    // Trained in steps, for their curves.
    let steps = ["--head", "linear", "--epochs", "12", "--learning-rate", "auto"];
    let reports = [
        ("synthetic", own.to_owned(), Vec::new()),
        ("faults", train(&faults, "faults", &[])?, shown),
        ("hundred", train(&hundred, "hundred", &steps)?, Vec::new()),
    ];
    for (name, own, shown) in reports {
        let mut script = node("tests/page/report.mjs");
        script.arg(chromium).arg(axe).arg(own).arg(folder).arg(name);
        run(script.args(shown))?;
    }
    Ok(())
}

/// A data set with faults: its manifest, and texts that its report has to show as they are.
fn with_faults(folder: &Path) -> anyhow::Result<(PathBuf, Vec<String>)> {
    let mut shown: Vec<String> = CLASSES.map(str::to_owned).into();
    let mut manifest = String::from("path,label,split\n");
    let mut add = |path: &str, label: usize, content: &[u8]| -> anyhow::Result<()> {
        let (split, _) = path.split_once('/').unwrap_or_default();
        fs::create_dir_all(folder.join(split))?;
        fs::write(folder.join(path), content)?;
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        manifest += &format!("{},{},{split}\n", quoted(path), quoted(CLASSES[label]));
        Ok(())
    };
    let of = |class: usize, number: u64| ppm((2 * class, 2 * class), number, 96);
    for class in 0..CLASSES.len() {
        let few = class == TINY;
        let parts = [("train", 0, if few { 4 } else { 30 }), ("val", 50, 6), ("test", 100, 14)];
        for (split, first, pictures) in parts {
            for number in first..first + pictures {
                add(&format!("{split}/{class}-{number}.ppm"), class, &of(class, number))?;
            }
        }
    }
    // Wrong labels in both parts; the model is sure of those in test.
    for (at, name) in (0..).zip(FILES) {
        let class = (at % 4) as usize;
        for (split, number) in [("train", 220 + at), ("test", 300 + at)] {
            let path = format!("{split}/{name}");
            add(&path, (class + 2) % 4, &of(class, number))?;
            shown.push(path);
        }
    }
    add(&format!("test/{TURNED}"), 2, &of(0, 310))?;
    shown.push(format!("test/{}", TURNED.replace('\u{202e}', "\u{fffd}")));
    // Copies in both parts, and one picture with two labels.
    for number in 0..3 {
        let path = format!("test/copy <b>{number}.ppm");
        add(&path, 3, &of(3, number))?;
        shown.push(path);
    }
    add("train/twice & for all.ppm", 2, &of(1, 7))?;
    shown.push("train/twice & for all.ppm".into());
    let path = folder.join("manifest.csv");
    fs::write(&path, manifest)?;
    Ok((path, shown))
}

/// A data set of a hundred classes: a shape of a colour each.
fn hundred_classes(folder: &Path) -> anyhow::Result<PathBuf> {
    for (shape, shape_name) in SHAPES.iter().enumerate() {
        for (colour, colour_name) in COLOURS.iter().enumerate() {
            for (split, numbers) in [("train", 0..8), ("test", 8..11)] {
                let class = folder.join(split).join(format!("{colour_name} {shape_name}"));
                fs::create_dir_all(&class)?;
                for number in numbers {
                    let picture = ppm((shape, colour), number, 64);
                    fs::write(class.join(format!("{number}.ppm")), picture)?;
                }
            }
        }
    }
    Ok(folder.to_owned())
}
