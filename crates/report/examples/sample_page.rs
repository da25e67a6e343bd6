//! A report of made-up data with every kind of block, to look at.
//!
//!     cargo run -p taper-report --example sample_page -- report.html

use std::{f32::consts::TAU, io::Cursor, path::PathBuf};

use image::{ExtendedColorType, ImageEncoder, codecs};
use taper_report::{
    Curves, EpochFigures, Kept,
    page::{
        ActivationMap, Advice, Block, Cell, Chart, Column, ColumnKind, Confusion, ConfusionCell,
        Gallery, Page, Section, Shot, Table, Thumbnail, Verdict, Weight, heat,
    },
};

const FLOWERS: [&str; 3] = ["daisy", "dandelion", "sunflower"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).map_or_else(|| "report.html".into(), PathBuf::from);
    let pictures = (0..18).map(picture).collect::<Result<Vec<_>, _>>()?;
    let page = Page {
        title: "Three flowers".into(),
        subtitle: "MobileNetV3-Small, frozen, 224 × 224 · 1,020 pictures of 3 classes".into(),
        sections: vec![
            verdict(),
            advice(),
            data(),
            classes(),
            confusion(),
            mistakes(),
            hundred(),
            curves(),
            settings(),
        ],
        pictures,
        footer: "Written by Taper 0.1.0.".into(),
    };
    std::fs::write(path, page.html())?;
    Ok(())
}

/// A flower of sorts, with a map of what the model looked at.
fn picture(index: u32) -> Result<Thumbnail, image::ImageError> {
    let (width, height) = if index.is_multiple_of(4) { (120, 160) } else { (176, 132) };
    let petals = 5.0 + (index % 4) as f32;
    let (cx, cy) = (width as f32 * 0.5, height as f32 * (0.4 + 0.02 * (index % 7) as f32));
    let mut rgb = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let (dx, dy) = (x as f32 - cx, y as f32 - cy);
            let (r, angle) = (dx.hypot(dy), dy.atan2(dx) + index as f32);
            let edge = 26.0 + 18.0 * (angle * petals).cos();
            let shade = y as f32 / height as f32;
            let colour = match r {
                r if r < 13.0 => [120.0, 84.0, 40.0],
                r if r < edge => match index % 3 {
                    0 => [236.0, 236.0, 228.0],
                    1 => [246.0, 204.0, 60.0],
                    _ => [242.0, 168.0, 34.0],
                },
                _ => [96.0 - 40.0 * shade, 150.0 - 60.0 * shade, 84.0 - 30.0 * shade],
            };
            rgb.extend(colour.map(|c: f32| c as u8));
        }
    }
    let mut jpeg = Vec::new();
    codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 80).write_image(
        &rgb,
        width,
        height,
        ExtendedColorType::Rgb8,
    )?;
    let (side, mut rgba) = (56, Vec::new());
    for y in 0..side {
        for x in 0..side {
            let at = |v: u32| v as f32 / (side - 1) as f32;
            let spot =
                |sx: f32, sy: f32| (-14.0 * ((at(x) - sx).powi(2) + (at(y) - sy).powi(2))).exp();
            let turn = TAU * index as f32 / 9.0;
            let share =
                spot(0.5, 0.45) + 0.5 * spot(0.5 + 0.3 * turn.cos(), 0.5 + 0.3 * turn.sin());
            rgba.extend(heat(share / 1.2));
        }
    }
    let mut png = Cursor::new(Vec::new());
    codecs::png::PngEncoder::new(&mut png).write_image(
        &rgba,
        side,
        side,
        ExtendedColorType::Rgba8,
    )?;
    let map = ActivationMap { png: png.into_inner(), region: [0.0, 0.0, 1.0, 1.0] };
    let map = (index != 5).then_some(map);
    Ok(Thumbnail { jpeg, width, height, alt: String::new(), map })
}

fn shot(index: usize, truth: &str, predicted: &str, probability: f64) -> Shot {
    Shot {
        picture: Some(index % 18),
        name: format!("{truth}/IMG_{:04}.jpg", 137 * index + 21),
        truth: Some(truth.into()),
        predicted: Some(predicted.into()),
        probability: Some(probability),
        note: String::new(),
    }
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

fn number(value: f64) -> Cell {
    Cell::Number { value, text: format!("{value}") }
}

fn share(value: f64) -> Cell {
    Cell::Number { value, text: format!("{:.1}\u{a0}%", 100.0 * value) }
}

fn column(name: &str, kind: ColumnKind) -> Column {
    Column { name: name.into(), kind }
}

fn section(id: &str, title: &str, lead: &str, blocks: Vec<Block>) -> Section {
    Section { id: id.into(), title: title.into(), lead: lead.into(), blocks }
}

fn verdict() -> Section {
    let verdict = Verdict {
        figure: "96.1 %".into(),
        label: "accuracy".into(),
        share: 0.961,
        interval: Some((0.924, 0.981)),
        text: "Of 204 pictures that the model has never seen, it named 196 right. The test split \
               was used once, for this figure alone."
            .into(),
        facts: pairs(&[
            ("Measured on", "the test split, untouched"),
            ("Pictures", "204"),
            ("Balanced accuracy", "95.8 %"),
            ("Mean log loss", "0.134 nats"),
        ]),
    };
    section("verdict", "How good it is", "", vec![Block::Verdict(verdict)])
}

fn advice() -> Section {
    let advice = |weight, text: &str, command: Option<&str>, pictures: &[usize]| Advice {
        weight,
        text: text.into(),
        command: command.map(Into::into),
        pictures: pictures.to_vec(),
    };
    let list = vec![
        advice(
            Weight::Problem,
            "Four pictures of the test split are also in the training split, so the accuracy may \
             be too high. Remove the copies and train again.",
            Some("taper check flowers --duplicates --move-to duplicates"),
            &[3, 7, 0, 5],
        ),
        advice(
            Weight::Advice,
            "Dandelions are taken for sunflowers more often than any other pair. Some 40 more \
             pictures of each would help most.",
            None,
            &[1, 2],
        ),
        advice(
            Weight::Advice,
            "Validation accuracy still rose when training ended.",
            Some("taper train --resume runs/flowers --epochs 30 --fine-tune last-stage"),
            &[],
        ),
        advice(Weight::Fine, "Probabilities are calibrated: the error is 0.8 %.", None, &[]),
    ];
    section("next", "What to do next", "Most important first.", vec![Block::Advice(list)])
}

fn data() -> Section {
    let rows = [("training", 612.0, 0.6), ("validation", 204.0, 0.2), ("test", 204.0, 0.2)];
    let row =
        |(name, n, part): (&str, f64, f64)| vec![Cell::Text(name.into()), number(n), share(part)];
    let table = Table {
        caption: "Splits".into(),
        columns: vec![
            column("Split", ColumnKind::Text),
            column("Pictures", ColumnKind::Number),
            column("Share", ColumnKind::Share),
        ],
        rows: rows.into_iter().map(row).collect(),
        notes: "Pictures of one plant are in one split.".into(),
    };
    let lead = "Where the pictures come from and how they were divided.";
    section("data", "Data and splits", lead, vec![Block::Table(table)])
}

fn class_row(i: usize, name: &str) -> Vec<Cell> {
    let wave = |by: usize| ((i * by) % 17) as f64 / 17.0;
    vec![
        Cell::Text(name.into()),
        number((40 + (i * 37) % 60) as f64),
        share(1.0 - 0.2 * wave(5)),
        share(1.0 - 0.3 * wave(7)),
        share(1.0 - 0.25 * wave(11)),
        if i % 9 == 4 { Cell::None } else { Cell::Text(name_of((i * 31 + 1) % 100)) },
    ]
}

fn class_columns() -> Vec<Column> {
    vec![
        column("Class", ColumnKind::Text),
        column("Pictures", ColumnKind::Number),
        column("Precision", ColumnKind::Share),
        column("Recall", ColumnKind::Share),
        column("F1", ColumnKind::Share),
        column("Mostly taken for", ColumnKind::Text),
    ]
}

fn name_of(i: usize) -> String {
    match i {
        7 => "قطة".into(),
        11 => "a very long name of a class that somebody typed, <b>with markup</b> & more".into(),
        23 => "猫".into(),
        _ => format!("species {i:02}"),
    }
}

fn classes() -> Section {
    let table = Table {
        caption: "The three classes".into(),
        columns: class_columns(),
        rows: FLOWERS.iter().enumerate().map(|(i, name)| class_row(i + 1, name)).collect(),
        notes: "Precision: how often the model is right when it names the class. Recall: how many \
                of the class it finds."
            .into(),
    };
    section("classes", "Classes", "How well each class is recognised.", vec![Block::Table(table)])
}

fn confusion() -> Section {
    let cell = |truth: usize, predicted: usize, n: usize| ConfusionCell {
        truth,
        predicted,
        shots: (0..n)
            .map(|i| {
                let at = 3 * i + truth + 5 * predicted;
                shot(at, FLOWERS[truth], FLOWERS[predicted], 0.92 - 0.07 * i as f64)
            })
            .collect(),
    };
    let confusion = Confusion {
        labels: FLOWERS.map(Into::into).to_vec(),
        counts: vec![vec![68, 1, 0], vec![2, 61, 4], vec![0, 1, 67]],
        cells: vec![cell(0, 1, 1), cell(1, 0, 2), cell(1, 2, 3), cell(2, 1, 1)],
    };
    let many: Vec<String> = (0..25).map(name_of).collect();
    let counts = |n: usize| -> Vec<Vec<u64>> {
        let at = |i: usize, j: usize| match (i * 13 + j * 7) % 11 {
            _ if i == j => 40 + (i as u64 * 7) % 23,
            0 => 1 + (i as u64 * j as u64) % 6,
            _ => 0,
        };
        (0..n).map(|i| (0..n).map(|j| at(i, j)).collect()).collect()
    };
    let larger = Confusion { labels: many, counts: counts(25), cells: Vec::new() };
    let lead = "What was taken for what. Choose a cell to see the pictures behind it.";
    let blocks = vec![
        Block::Confusion(confusion),
        Block::Text("The same with twenty-five classes:".into()),
        Block::Confusion(larger),
    ];
    section("confusion", "Confusion", lead, blocks)
}

fn mistakes() -> Section {
    let mut shots: Vec<Shot> = (0..8)
        .map(|i| shot(i + 4, FLOWERS[i % 3], FLOWERS[(i + 1) % 3], 0.99 - 0.04 * i as f64))
        .collect();
    shots[1].note = "Perhaps the label is wrong.".into();
    shots[2].name = "קבצים/תמונה 12.jpg".into();
    shots[3].picture = None;
    shots.push(shot(9, "daisy", "daisy", 0.51));
    let gallery =
        Gallery { caption: "Mistakes that the model was most sure of".into(), shots, filter: true };
    section("mistakes", "Worst mistakes", "", vec![Block::Gallery(gallery)])
}

fn hundred() -> Section {
    let labels: Vec<String> = (0..100).map(name_of).collect();
    let at = |i: usize, j: usize| match (i * 31 + j * 17) % 41 {
        _ if i == j => 44,
        0 => 1 + ((i * j) % 9) as u64,
        _ => 0,
    };
    let counts = (0..100).map(|i| (0..100).map(|j| at(i, j)).collect()).collect();
    let cells = (0..100)
        .flat_map(|i| (0..100).map(move |j| (i, j)))
        .filter(|&(i, j)| i != j && at(i, j) > 5)
        .map(|(truth, predicted)| ConfusionCell {
            truth,
            predicted,
            shots: (0..3)
                .map(|n| shot(truth + n, &labels[truth], &labels[predicted], 0.8))
                .collect(),
        })
        .collect();
    let table = Table {
        caption: "All hundred classes".into(),
        columns: class_columns(),
        rows: labels.iter().enumerate().map(|(i, name)| class_row(i, name)).collect(),
        notes: String::new(),
    };
    let confusion = Confusion { labels, counts, cells };
    let lead = "What the page does when there are more classes than a matrix can show.";
    let blocks = vec![Block::Table(table), Block::Confusion(confusion)];
    section("hundred", "A hundred classes", lead, blocks)
}

fn curves() -> Section {
    let figures = |epoch: u64| {
        let left = (-(epoch as f64) / 4.0).exp();
        EpochFigures {
            epoch,
            loss: Some(0.1 + 1.2 * left),
            accuracy: Some(0.98 - 0.5 * left),
            val_loss: Some(0.17 + left + 0.02 * (epoch as f64).sin()),
            val_accuracy: Some(0.955 - 0.4 * left + 0.006 * (epoch as f64).cos()),
            learning_rate: Some(1e-3 * (1.0 - epoch as f64 / 16.0)),
        }
    };
    let curves = Curves {
        epochs: (0..15).map(figures).collect(),
        kept: Kept::Epoch(12),
        title: "Training".into(),
        subtitle: "MobileNetV3-Small, frozen".into(),
        ..Curves::default()
    };
    let chart = Chart {
        svg: curves.draw().svg().into(),
        alt: "Loss, accuracy and learning rate over 15 epochs; the best weights are those of \
              epoch 13."
            .into(),
        caption: "Loss, accuracy and learning rate by epoch.".into(),
    };
    section("curves", "Curves", "", vec![Block::Chart(chart.clone()), Block::Chart(chart)])
}

fn settings() -> Section {
    let facts = pairs(&[
        ("Network", "mobilenet-v3-small"),
        ("Weights", "timm/mobilenetv3_small_100.lamb_in1k"),
        ("SHA-256", "4f1c2a1d9b5e6f7a8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f7"),
        ("Recipe", "frozen, cosine, 15 epochs"),
        ("Training time", "1 min 42 s"),
        ("Folder", ""),
    ]);
    let code = Block::Code {
        caption: "The command that made this run".into(),
        text: "taper train flowers \\\n  --model mobilenet-v3-small \\\n  --epochs 15 --seed 7 \
               --output runs/flowers"
            .into(),
    };
    section(
        "settings",
        "Settings",
        "Everything to repeat the run.",
        vec![Block::Facts(facts), code],
    )
}
