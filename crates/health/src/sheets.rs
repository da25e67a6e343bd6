//! Contact sheets of the findings.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use taper_data::Dataset;
use taper_plot::{Sheet, Tile, isolated};

use crate::{Duplicate, Health, Result, file::write_whole, look::scaled};

/// The most pairs, or pictures, on a sheet; the rest are in `health.json`.
const PAIRS: usize = 24;

/// Draws the findings that can be shown, into `folder`; returns the files. Kinds without findings
/// have none.
///
/// # Errors
/// If a sheet cannot be drawn or written.
pub fn draw_sheets(health: &Health, dataset: &Dataset, folder: &Path) -> Result<Vec<PathBuf>> {
    let across: Vec<&Duplicate> = health.duplicates.iter().filter(|d| d.across_splits).collect();
    let within: Vec<&Duplicate> =
        health.duplicates.iter().filter(|d| !d.across_splits && d.same_label).collect();
    let conflicts: Vec<&Duplicate> = health.label_conflicts.iter().collect();
    let mut files = Vec::new();
    let mut draw = |name: &str, sheet: Sheet| -> Result<()> {
        if sheet.tiles.is_empty() {
            return Ok(());
        }
        let path = folder.join(name);
        write_whole(&path, &sheet.png()?)?;
        files.push(path);
        Ok(())
    };
    draw(
        "duplicates-across-splits.png",
        pairs("The same picture in two splits", dataset, &across),
    )?;
    draw("label-conflicts.png", pairs("The same picture with two labels", dataset, &conflicts))?;
    draw("duplicates-within-splits.png", pairs("The same picture twice", dataset, &within))?;
    draw("near-copies.png", near_copies(health, dataset))?;
    draw("label-errors.png", label_errors(health, dataset))?;
    draw("badly-named.png", badly_named(health, dataset))?;
    draw("drift.png", extremes(health, dataset))?;
    Ok(files)
}

fn pairs(title: &str, dataset: &Dataset, pairs: &[&Duplicate]) -> Sheet {
    let mut sheet = Sheet { title: title.into(), columns: 4, group: 2, ..Sheet::default() };
    sheet.subtitle = shown(pairs.len(), PAIRS, "pair", "pairs");
    for pair in pairs.iter().take(PAIRS) {
        let side = sheet.side();
        let first = format!("{} · {}", pair.likeness, isolated(&class(dataset, pair.pair.0)));
        sheet.tiles.push(tile(dataset, pair.pair.0, side, first));
        let label = class(dataset, pair.pair.1);
        sheet.tiles.push(tile(dataset, pair.pair.1, side, label));
    }
    sheet
}

/// What a person has to decide: in pairs, closest first.
fn near_copies(health: &Health, dataset: &Dataset) -> Sheet {
    let n = health.near_copies.len();
    let mut sheet = Sheet {
        title: "Nearly the same picture: copies, or two shots of one thing?".into(),
        subtitle: format!(
            "{}, closest first · kept unless asked otherwise",
            shown(n, PAIRS, "pair", "pairs")
        ),
        columns: 4,
        group: 2,
        ..Sheet::default()
    };
    for pair in health.near_copies.iter().take(PAIRS) {
        let side = sheet.side();
        let of_first = isolated(&class(dataset, pair.pair.0));
        let first = format!("distance {:.3} · {of_first}", pair.distance);
        sheet.tiles.push(tile(dataset, pair.pair.0, side, first));
        let label = class(dataset, pair.pair.1);
        sheet.tiles.push(tile(dataset, pair.pair.1, side, label));
    }
    if n == 0 { Sheet::default() } else { sheet }
}

fn label_errors(health: &Health, dataset: &Dataset) -> Sheet {
    let mut sheet = Sheet {
        title: "Probable label errors".into(),
        subtitle: shown(health.label_errors.len(), PAIRS, "picture", "pictures"),
        columns: 4,
        ..Sheet::default()
    };
    for error in health.label_errors.iter().take(PAIRS) {
        let text = format!(
            "{}, looks like {} ({:.0} %)",
            isolated(&error.label),
            isolated(&error.looks_like),
            100.0 * error.probability
        );
        let side = sheet.side();
        sheet.tiles.push(tile(dataset, error.index, side, text));
    }
    sheet
}

fn badly_named(health: &Health, dataset: &Dataset) -> Sheet {
    let mut sheet = Sheet {
        title: "Another class's name describes them better".into(),
        subtitle: shown(health.badly_named.len(), PAIRS, "picture", "pictures"),
        columns: 4,
        ..Sheet::default()
    };
    for own in health.badly_named.iter().take(PAIRS) {
        let text = format!(
            "{}, {} fits better ({:.0} %)",
            isolated(&own.label),
            isolated(&own.looks_like),
            100.0 * own.probability
        );
        let side = sheet.side();
        sheet.tiles.push(tile(dataset, own.index, side, text));
    }
    sheet
}

/// Pictures of train and of the other split, class by class, side by side, for the split that
/// differs most.
fn extremes(health: &Health, dataset: &Dataset) -> Sheet {
    use taper_core::Split;
    const OF_EACH: usize = 4;
    let worst =
        health.drift.iter().filter(|(_, drift)| drift.strength > crate::Strength::None).max_by(
            |a, b| {
                let statistic = |d: &crate::Drift| d.features.first().map_or(0.0, |f| f.statistic);
                a.1.strength.cmp(&b.1.strength).then(statistic(a.1).total_cmp(&statistic(b.1)))
            },
        );
    let Some((name, drift)) = worst else { return Sheet::default() };
    let other = if name == "train-val" { Split::Val } else { Split::Test };
    let differs: Vec<String> = drift
        .features
        .iter()
        .take(3)
        .map(|f| format!("{} {:.2} to {:.2}", f.feature, f.train, f.other))
        .collect();
    let mut sheet = Sheet {
        title: format!("Drift: train (left) and {other} (right)"),
        subtitle: differs.join("  ·  "),
        columns: 2 * OF_EACH,
        group: OF_EACH,
        ..Sheet::default()
    };
    let side = sheet.side();
    // No picture is shown twice, nor under two names.
    let copies: HashSet<usize> = health.duplicates.iter().map(|d| d.pair.1).collect();
    for label in 0..dataset.classes().len().min(8) as u32 {
        for split in [Split::Train, other] {
            let members: Vec<usize> = dataset
                .indices(Some(split))
                .into_iter()
                .filter(|i| dataset.samples()[*i].label == label && !copies.contains(i))
                .collect();
            for k in 0..OF_EACH {
                match spread(k, OF_EACH, members.len()).and_then(|k| members.get(k)) {
                    Some(index) => {
                        let mut tile = tile(dataset, *index, side, String::new());
                        tile.caption = vec![class(dataset, *index)];
                        sheet.tiles.push(tile);
                    }
                    None => sheet.tiles.push(Tile::default()),
                }
            }
        }
    }
    sheet
}

/// Which of `n` pictures is the `k`-th of `shown` that are spread over them, so as not to show only
/// the first clip; each at most once.
fn spread(k: usize, shown: usize, n: usize) -> Option<usize> {
    if n > shown { Some(k * n / shown) } else { (k < n).then_some(k) }
}

fn shown(n: usize, most: usize, one: &str, many: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        n if n > most => format!("the first {most} of {n} {many}"),
        n => format!("{n} {many}"),
    }
}

fn class(dataset: &Dataset, index: usize) -> String {
    dataset
        .samples()
        .get(index)
        .and_then(|s| dataset.classes().name(s.label))
        .unwrap_or_default()
        .into()
}

fn tile(dataset: &Dataset, index: usize, side: u32, text: String) -> Tile {
    let id = dataset.samples().get(index).map(|s| s.id.clone()).unwrap_or_default();
    let caption = vec![id, text];
    match dataset.read(index) {
        Ok(picture) => {
            let (width, height) = picture.pixels.dimensions();
            let longer = width.max(height).max(1);
            let fit = |length: u32| {
                (u64::from(length) * u64::from(side) / u64::from(longer)).max(1) as u32
            };
            let (width, height) = (fit(width), fit(height));
            let pixels = scaled(&picture.pixels, width, height).into_raw();
            Tile { width, height, pixels, caption }
        }
        Err(_) => Tile { caption, ..Tile::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn each_of_few_pictures_is_shown_once() {
        for n in 0..12 {
            let mut shown: Vec<usize> = (0..4).filter_map(|k| spread(k, 4, n)).collect();
            assert_eq!(shown.len(), n.min(4));
            assert!(shown.iter().all(|k| *k < n));
            shown.dedup();
            assert_eq!(shown.len(), n.min(4));
        }
    }
}
