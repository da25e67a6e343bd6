//! Letters as outlines, from the embedded fonts alone: pictures look the same on every machine,
//! even on one without fonts.

use std::sync::OnceLock;

use tiny_skia::{Path, PathBuilder, Transform};
use ttf_parser::{
    Face, GlyphId, OutlineBuilder, Tag,
    gpos::{PairAdjustment, PositioningSubtable},
};

static REGULAR: &[u8] = include_bytes!("../fonts/Roboto-Regular.ttf");
static BOLD: &[u8] = include_bytes!("../fonts/Roboto-Bold.ttf");

/// The sources of the letters' outlines. Files are tried in order, so that a second one can fill
/// the gaps of the first.
fn faces(bold: bool) -> &'static [Face<'static>] {
    static FACES: [OnceLock<Vec<Face<'static>>>; 2] = [OnceLock::new(), OnceLock::new()];
    FACES[usize::from(bold)].get_or_init(|| {
        let file = if bold { BOLD } else { REGULAR };
        Face::parse(file, 0).into_iter().collect()
    })
}

/// A text from the origin to the right, and how far it goes. Letters missing from all fonts are
/// left out; there is no outline if nothing remains.
pub(crate) fn outline(text: &str, size: f32, bold: bool) -> (Option<Path>, f32) {
    let mut path = PathBuilder::new();
    let mut x = 0.0;
    let mut before: Option<(usize, GlyphId)> = None;
    for letter in text.chars() {
        let mut found = faces(bold).iter().enumerate();
        let found = found.find_map(|(i, face)| Some((i, face, face.glyph_index(letter)?)));
        let Some((i, face, glyph)) = found else { continue };
        let scale = size / f32::from(face.units_per_em());
        if let Some((_, left)) = before.filter(|(file, _)| *file == i) {
            x += f32::from(kerning(face, left, glyph)) * scale;
        }
        let mut pen = Pen { path: PathBuilder::new() };
        face.outline_glyph(glyph, &mut pen);
        let place = Transform::from_row(scale, 0.0, 0.0, -scale, x, 0.0);
        if let Some(outline) = pen.path.finish().and_then(|outline| outline.transform(place)) {
            path.push_path(&outline);
        }
        x += f32::from(face.glyph_hor_advance(glyph).unwrap_or(0)) * scale;
        before = Some((i, glyph));
    }
    (path.finish(), x)
}

/// The kerning of two letters, closer (negative) or wider, in the font's units.
fn kerning(face: &Face<'_>, left: GlyphId, right: GlyphId) -> i16 {
    let Some(table) = face.tables().gpos else { return 0 };
    let Some(feature) = table.features.find(Tag::from_bytes(b"kern")) else { return 0 };
    for index in feature.lookup_indices {
        let Some(lookup) = table.lookups.get(index) else { continue };
        for subtable in lookup.subtables.into_iter::<PositioningSubtable<'_>>() {
            let PositioningSubtable::Pair(pair) = subtable else { continue };
            let Some(row) = pair.coverage().get(left) else { continue };
            let found = match pair {
                PairAdjustment::Format1 { sets, .. } => {
                    sets.get(row).and_then(|set| set.get(right)).map(|(first, _)| first.x_advance)
                }
                PairAdjustment::Format2 { classes, matrix, .. } => matrix
                    .get((classes.0.get(left), classes.1.get(right)))
                    .map(|(first, _)| first.x_advance),
            };
            // The first table that contains the pair decides.
            if let Some(advance) = found {
                return advance;
            }
        }
    }
    0
}

/// Draws an outline; y still goes upwards.
struct Pen {
    path: PathBuilder,
}

impl OutlineBuilder for Pen {
    fn move_to(&mut self, x: f32, y: f32) {
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_have_widths_and_pairs_come_closer() {
        let width = |text| outline(text, 100.0, false).1;
        assert!(width("W") > 2.0 * width("i"));
        assert!(width("AV") < width("A") + width("V") - 1.0, "no kerning");
        assert_eq!(width("漢"), 0.0);
        assert!(outline("漢", 10.0, true).0.is_none() && outline(" ", 10.0, true).0.is_none());
        let bounds = outline("H", 100.0, true).0.unwrap().bounds();
        assert!(bounds.top() < -60.0 && bounds.bottom() <= 0.0, "letters stand on the line");
    }
}
