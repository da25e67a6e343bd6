//! Letters as outlines, from the embedded fonts: what they have looks the same on every machine,
//! even on one without fonts.

use std::sync::OnceLock;

use tiny_skia::{Path, PathBuilder, Transform};
use ttf_parser::{
    Face, GlyphId, OutlineBuilder, Tag,
    gpos::{PairAdjustment, PositioningSubtable},
};

static REGULAR: &[u8] = include_bytes!("../fonts/Roboto-Regular.ttf");
static BOLD: &[u8] = include_bytes!("../fonts/Roboto-Bold.ttf");

fn face(bold: bool) -> Option<&'static Face<'static>> {
    static FACES: [OnceLock<Option<Face<'static>>>; 2] = [OnceLock::new(), OnceLock::new()];
    let parse = || Face::parse(if bold { BOLD } else { REGULAR }, 0).ok();
    FACES[usize::from(bold)].get_or_init(parse).as_ref()
}

/// Whether the embedded fonts have this letter.
pub(crate) fn has(letter: char) -> bool {
    face(false).is_some_and(|face| face.glyph_index(letter).is_some())
}

/// Appends letters to a path, the first at `x` and in reading order from left to right; returns
/// where the next one goes. Letters that the fonts do not have are passed over.
pub(crate) fn outline(
    text: &str,
    size: f32,
    bold: bool,
    start: f32,
    path: &mut PathBuilder,
) -> f32 {
    let Some(face) = face(bold) else { return start };
    let scale = size / f32::from(face.units_per_em());
    let mut x = start;
    let mut before: Option<GlyphId> = None;
    for glyph in text.chars().filter_map(|letter| face.glyph_index(letter)) {
        if let Some(left) = before {
            x += f32::from(kerning(face, left, glyph)) * scale;
        }
        let place = Transform::from_row(scale, 0.0, 0.0, -scale, x, 0.0);
        if let Some(outline) = glyph_outline(face, glyph).and_then(|path| path.transform(place)) {
            path.push_path(&outline);
        }
        x += f32::from(face.glyph_hor_advance(glyph).unwrap_or(0)) * scale;
        before = Some(glyph);
    }
    x
}

/// How far a text goes, as [`outline`] draws it.
pub(crate) fn advance(text: &str, size: f32, bold: bool) -> f32 {
    let Some(face) = face(bold) else { return 0.0 };
    let mut units = 0;
    let mut before: Option<GlyphId> = None;
    for glyph in text.chars().filter_map(|letter| face.glyph_index(letter)) {
        units += before.map_or(0, |left| i32::from(kerning(face, left, glyph)));
        units += i32::from(face.glyph_hor_advance(glyph).unwrap_or(0));
        before = Some(glyph);
    }
    units as f32 * size / f32::from(face.units_per_em())
}

/// A letter in the font's units, y upwards; none if it has no outline.
pub(crate) fn glyph_outline(face: &Face<'_>, glyph: GlyphId) -> Option<Path> {
    let mut pen = Pen { path: PathBuilder::new() };
    face.outline_glyph(glyph, &mut pen)?;
    pen.path.finish()
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
        let width = |text| advance(text, 100.0, false);
        assert!(width("W") > 2.0 * width("i"));
        assert!(width("AV") < width("A") + width("V") - 1.0, "no kerning");
        assert!(has('ß') && has('Ω') && has('Я') && !has('漢'));
        let mut path = PathBuilder::new();
        let end = outline("HAV", 100.0, true, 10.0, &mut path);
        assert!((end - 10.0 - advance("HAV", 100.0, true)).abs() < 1e-3);
        let bounds = path.finish().unwrap().bounds();
        assert!(bounds.top() < -60.0 && bounds.bottom() <= 0.0, "letters stand on the line");
    }
}
