#![doc = include_str!("../README.md")]

use std::{collections::BTreeMap, path::Path};

use image::RgbImage;
use serde::Serialize;
use taper_augment::Augmenter;
use taper_core::{
    Interpolation, Part,
    file::FIGURE_MARK,
    random::{Key, Purpose},
};
use taper_data::{Augment, Dataset};
use taper_picture::{Finding, Preparer};
use taper_plot::{Sheet, Tile};
use taper_sources::FolderUse;

use taper_outputs::{OutFile, check_extension};

use taper_run::{
    CheckedRecipe, Error, Result, Session, Views, data_name, open_data_with, remarks_of,
};

const CHOICE: Purpose = Purpose::new("train/augment-sheet");
/// How many classes are shown; the sheet is for a look, and the answer counts all classes.
const MOST_CLASSES: usize = 12;
/// How many views of each picture are shown.
const MOST_VIEWS: u32 = 8;
/// Tiles in a row: readable at 800 pixels.
const MOST_COLUMNS: usize = 8;

/// A data set with its views: the answer of `taper augment --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AugmentAnswer {
    /// Training pictures.
    pub before: usize,
    /// Training pictures with their views: the size of an epoch.
    pub after: usize,
    /// The contact sheet.
    pub sheet: String,
    /// The policy.
    pub augment: String,
    /// Views of each picture, including the unchanged picture.
    pub views: u32,
    /// The random seed of the views.
    pub seed: u64,
    /// Side of the network's input in pixels.
    pub size: u32,
    /// Training pictures of each class.
    pub classes: BTreeMap<String, usize>,
    /// Pictures that should be shown but cannot be used, and those in formats that cannot be read.
    pub unreadable: Vec<Finding>,
    /// Remarks about the data set.
    pub remarks: Vec<Finding>,
}

/// Draws a contact sheet of what the network will see: unchanged pictures of each class beside
/// their views, in the network's size and crop. `recipe` gives the data, network, size, fit,
/// policy, views and seed; [`train`](taper_run::train()) makes the same views with it.
///
/// The file is a PNG or a JPEG, as its name says; one that exists is refused, unless it may be
/// overwritten.
///
/// # Errors
/// If the data set cannot be opened or the file cannot be written.
pub fn augment_sheet(
    recipe: &CheckedRecipe,
    out: &Path,
    overwrite: bool,
    session: &Session,
) -> Result<AugmentAnswer> {
    let kind = check_extension("out", out, &["png", "jpg", "jpeg"])?;
    let file = OutFile::check("out", out, overwrite)?;
    let (preprocessing, recipe) = (*recipe.preprocessing(), recipe.recipe());
    let dataset = open_data_with(&recipe.data, recipe.reading(FolderUse::Train), session)?;
    for remark in dataset.remarks() {
        session.progress().warn(remark);
    }
    // Those that a training with these settings takes, or all where there are too few of them.
    let training = match dataset.splits(recipe.val, recipe.seed) {
        Ok(splits) => splits.train,
        Err(_) => dataset.indices(None),
    };
    let counts = dataset.counts(&training);
    let before = training.len();
    let after = before * recipe.views as usize;

    let mut drawing = Drawing {
        dataset: &dataset,
        views: Views(Augmenter::of(recipe.augment, recipe.seed)),
        preparer: Preparer::new(preprocessing)?,
        unreadable: dataset.findings().iter().filter(|f| !f.usable()).cloned().collect(),
    };
    let shown_views = recipe.views.min(MOST_VIEWS);
    let per_row = (MOST_COLUMNS / shown_views as usize).max(1);
    let shown_classes = dataset.classes().len().min(MOST_CLASSES);
    let mut sheet = Sheet {
        title: format!(
            "{}: {} pictures, {} with their views",
            data_name(&recipe.data),
            grouped(before),
            grouped(after)
        ),
        subtitle: format!(
            "{}, {} view(s) of each picture, seed {}, {} × {}: the same in every epoch; view 0 is the unchanged picture",
            recipe.augment, recipe.views, recipe.seed, preprocessing.size, preprocessing.size
        ),
        columns: per_row * shown_views as usize,
        group: shown_views as usize,
        tiles: Vec::new(),
    };
    // Whole rows: the same number of pictures of each class.
    let each = if shown_classes > 6 { 1 } else { 2 }.max(per_row.div_ceil(shown_classes));
    let side = sheet.side();
    for class in 0..shown_classes {
        let mut of_class: Vec<usize> = training
            .iter()
            .copied()
            .filter(|i| dataset.samples()[*i].label as usize == class)
            .collect();
        Key::new(recipe.seed, CHOICE).stream(0, class as u64).shuffle(&mut of_class);
        let name = dataset.classes().name(class as u32).unwrap_or("?").to_owned();
        let mut shown = 0;
        for index in of_class {
            if session.interrupted() {
                return Err(Error::Interrupted);
            }
            if shown == each {
                break;
            }
            if let Some(tiles) = drawing.tiles(index, &name, shown_views, side)? {
                sheet.tiles.extend(tiles);
                shown += 1;
            }
        }
    }
    let png = sheet.png().map_err(taper_report::Error::from)?;
    file.write(&if kind == "png" { png } else { jpeg(&png)? })?;
    for finding in &drawing.unreadable {
        session.progress().warn(&format!("{}: {}", finding.path, finding.reason));
    }
    Ok(AugmentAnswer {
        before,
        after,
        sheet: out.display().to_string(),
        augment: recipe.augment.to_string(),
        views: recipe.views,
        seed: recipe.seed,
        size: preprocessing.size,
        classes: dataset.classes().iter().map(str::to_owned).zip(counts).collect(),
        unreadable: drawing.unreadable,
        remarks: remarks_of(&dataset),
    })
}

/// A PNG as a JPEG, of a quality at which the views still look like themselves.
fn jpeg(png: &[u8]) -> Result<Vec<u8>> {
    let fail = |error: image::ImageError| {
        Error::io("draw", "the contact sheet")(std::io::Error::other(error))
    };
    let pixels = image::load_from_memory(png).map_err(fail)?.into_rgb8();
    let mut bytes = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 92);
    pixels.write_with_encoder(encoder).map_err(fail)?;
    // A comment (COM) after the start of the picture (SOI) says who wrote it.
    let mut comment = vec![0xff, 0xfe];
    comment.extend((FIGURE_MARK.len() as u16 + 2).to_be_bytes());
    comment.extend(FIGURE_MARK);
    bytes.splice(2..2, comment);
    Ok(bytes)
}

struct Drawing<'a> {
    dataset: &'a Dataset,
    views: Views,
    preparer: Preparer,
    unreadable: Vec<Finding>,
}

impl Drawing<'_> {
    /// All views of one picture; none if it cannot be used.
    fn tiles(
        &mut self,
        index: usize,
        class: &str,
        views: u32,
        side: u32,
    ) -> Result<Option<Vec<Tile>>> {
        let picture = match self.dataset.read(index) {
            Ok(picture) => picture.pixels,
            Err(finding) => {
                self.unreadable.push(finding);
                return Ok(None);
            }
        };
        let key = self.dataset.samples()[index].key();
        let size = self.preparer.spec().size;
        let mut tiles = Vec::new();
        for view in 0..views {
            let mut seen = RgbImage::new(size, size);
            if view == 0 {
                self.preparer.prepare_into(&picture, &mut seen)?;
            } else {
                self.views.augment_into(&picture, view, key, &mut self.preparer, &mut seen)?;
            }
            // Resized to the tile, for display only.
            let mut pixels = vec![0; (side * side * 3) as usize];
            let whole = Part::whole(size, size);
            let filter = Interpolation::Bicubic;
            self.preparer.warper().resizer().resize(
                &seen,
                whole,
                filter,
                (side, side),
                &mut pixels,
            )?;
            let what = if view == 0 { "original".into() } else { format!("view {view}") };
            tiles.push(Tile {
                width: side,
                height: side,
                pixels,
                caption: vec![class.into(), what],
            });
        }
        Ok(Some(tiles))
    }
}

/// 5040 as 5,040.
pub(crate) fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl AugmentAnswer {
    /// `2,520 → 5,040`.
    pub fn cardinality(&self) -> String {
        format!("{} → {}", grouped(self.before), grouped(self.after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (n, text) in [(0, "0"), (999, "999"), (2520, "2,520"), (1_005_040, "1,005,040")] {
            assert_eq!(grouped(n), text);
        }
    }
}
