//! From a text in any script to outlines and small pictures, in the order in which they are seen.
//!
//! The embedded fonts come first, then the machine's, and where none has a letter there is a box
//! with its number in Unicode: nothing is left out. The order of right-to-left scripts follows the
//! Unicode Bidirectional Algorithm (UAX 9); joining and reordering of letters is HarfBuzz's, as
//! rustybuzz has it.

use std::ops::Range;

use fontdb::ID;
use rustybuzz::{Direction, UnicodeBuffer};
use tiny_skia::{Path, PathBuilder, Pixmap, Transform};
use ttf_parser::{GlyphId, RasterImageFormat};
use unicode_bidi::ParagraphBidiInfo;
use unicode_script::{Script, UnicodeScript};

use crate::{
    system::{Fonts, ignorable, is_emoji},
    typeface, unshown,
};

/// A text from the origin to the right; y goes downwards, and letters stand on 0.
#[derive(Default)]
pub(crate) struct Letters {
    /// What is filled with the text's colour.
    pub(crate) outline: Option<Path>,
    /// Coloured letters, and where they go.
    pub(crate) pictures: Vec<(Pixmap, Transform)>,
    /// How far it goes.
    pub(crate) width: f32,
}

/// Lays out a single line with the machine's fonts.
pub(crate) fn letters(text: &str, size: f32, bold: bool) -> Letters {
    lay_out(text, size, bold, Fonts::system)
}

/// How wide a single line is.
pub(crate) fn width(text: &str, size: f32, bold: bool) -> f32 {
    if text.chars().all(typeface::has) {
        return typeface::advance(text, size, bold);
    }
    letters(text, size, bold).width
}

/// Whether a part of a text is written from right to left.
pub(crate) fn has_right_to_left(text: &str) -> bool {
    !text.is_ascii() && ParagraphBidiInfo::new(text, None).has_rtl()
}

/// Where a run's letters come from.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Source {
    Embedded,
    System(ID),
    /// None has them.
    Nowhere,
}

/// Neighbouring letters of one direction, font and script.
#[derive(Debug)]
struct Run {
    letters: Range<usize>,
    source: Source,
    script: Script,
}

fn lay_out<'a>(text: &str, size: f32, bold: bool, fonts: impl FnOnce() -> &'a Fonts) -> Letters {
    let mut ink = Ink { path: PathBuilder::new(), pictures: Vec::new(), x: 0.0, size, bold };
    // Most texts: they look the same everywhere, and no font has to be searched for.
    if text.chars().all(typeface::has) {
        ink.embedded(text);
        return ink.finish();
    }
    let fonts = fonts();
    // Control characters have no form, and no direction.
    let text: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let paragraph = ParagraphBidiInfo::new(&text, None);
    let (levels, stretches) = paragraph.visual_runs(0..text.len());
    for stretch in stretches {
        let leftwards = levels.get(stretch.start).is_some_and(|level| level.is_rtl());
        let mut runs = runs(&text, stretch, bold, fonts);
        if leftwards {
            runs.reverse();
        }
        for run in runs {
            let letters = &text[run.letters.clone()];
            match run.source {
                Source::Embedded if !leftwards => ink.embedded(letters),
                Source::Embedded => ink.embedded(&letters.chars().rev().collect::<String>()),
                Source::System(id) => ink.shaped(letters, id, leftwards, fonts),
                Source::Nowhere => {
                    if let Some(first) = letters.chars().find(|c| !c.is_whitespace()) {
                        let known = !neutral(run.script);
                        unshown::note(first, if known { run.script } else { first.script() });
                    }
                    ink.boxes(letters, leftwards);
                }
            }
        }
    }
    ink.finish()
}

/// Divides a stretch of one direction, in reading order.
fn runs(text: &str, stretch: Range<usize>, bold: bool, fonts: &Fonts) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for cluster in clusters(&text[stretch.clone()]) {
        let letters = stretch.start + cluster.start..stretch.start + cluster.end;
        let visible = || text[letters.clone()].chars().filter(|c| !ignorable(*c));
        let script = visible().map(|c| c.script()).find(|s| !neutral(*s));
        let last = runs.last().map(|run| run.source);
        let all = |shows: &dyn Fn(char) -> bool| visible().all(shows);
        let first = visible().next();
        let source = match first {
            // Joiners and marks alone belong to what is before them.
            None => last.unwrap_or(Source::Embedded),
            Some(_) if all(&typeface::has) => Source::Embedded,
            Some(first) => match last {
                Some(Source::System(id)) if all(&|c| fonts.shows(id, c)) && !is_emoji(first) => {
                    Source::System(id)
                }
                _ => fonts.find(first, bold).map_or(Source::Nowhere, Source::System),
            },
        };
        match runs.last_mut() {
            Some(run)
                if run.source == source
                    && script.is_none_or(|s| neutral(run.script) || s == run.script) =>
            {
                run.letters.end = letters.end;
                if let Some(script) = script.filter(|_| neutral(run.script)) {
                    run.script = script;
                }
            }
            _ => {
                let script = script.unwrap_or(Script::Common);
                runs.push(Run { letters, source, script });
            }
        }
    }
    runs
}

fn neutral(script: Script) -> bool {
    matches!(script, Script::Common | Script::Inherited | Script::Unknown)
}

/// Letters with the marks, joiners and selectors that belong to them.
fn clusters(text: &str) -> Vec<Range<usize>> {
    let mut clusters: Vec<Range<usize>> = Vec::new();
    let mut joined = false;
    for (start, letter) in text.char_indices() {
        let end = start + letter.len_utf8();
        let belongs = joined || belongs_to_previous(letter);
        match clusters.last_mut() {
            Some(cluster) if belongs => cluster.end = end,
            _ => clusters.push(start..end),
        }
        joined = letter == '\u{200d}';
    }
    clusters
}

/// Whether a letter is one with what is before it: a mark, a selector, a skin colour.
pub(crate) fn belongs_to_previous(letter: char) -> bool {
    ignorable(letter)
        || letter.script() == Script::Inherited
        || matches!(u32::from(letter), 0x1f3fb..=0x1f3ff)
}

/// Draws from left to right.
struct Ink {
    path: PathBuilder,
    pictures: Vec<(Pixmap, Transform)>,
    x: f32,
    size: f32,
    bold: bool,
}

impl Ink {
    fn finish(self) -> Letters {
        Letters { outline: self.path.finish(), pictures: self.pictures, width: self.x }
    }

    fn embedded(&mut self, text: &str) {
        self.x = typeface::outline(text, self.size, self.bold, self.x, &mut self.path);
    }

    fn shaped(&mut self, text: &str, font: ID, leftwards: bool, fonts: &Fonts) {
        let drawn = fonts.with(font, |data, index| {
            let face = rustybuzz::Face::from_slice(data, index)?;
            let mut buffer = UnicodeBuffer::new();
            buffer.push_str(text);
            buffer.guess_segment_properties();
            buffer.set_direction(match leftwards {
                true => Direction::RightToLeft,
                false => Direction::LeftToRight,
            });
            let glyphs = rustybuzz::shape(&face, &[], buffer);
            let scale = self.size / face.units_per_em().max(1) as f32;
            for (info, at) in glyphs.glyph_infos().iter().zip(glyphs.glyph_positions()) {
                let [dx, dy] = [at.x_offset, at.y_offset].map(|units| units as f32 * scale);
                let letter = text.get(info.cluster as usize..).and_then(|t| t.chars().next());
                match u16::try_from(info.glyph_id).ok().map(GlyphId) {
                    Some(glyph) if glyph.0 != 0 => {
                        self.glyph(&face, glyph, (self.x + dx, -dy), scale);
                        self.x += at.x_advance as f32 * scale;
                    }
                    _ => self.unknown(letter.unwrap_or('\u{fffd}')),
                }
            }
            Some(())
        });
        if drawn.flatten().is_none() {
            self.boxes(text, leftwards);
        }
    }

    fn glyph(&mut self, face: &rustybuzz::Face<'_>, glyph: GlyphId, at: (f32, f32), scale: f32) {
        if let Some(outline) = typeface::glyph_outline(face, glyph) {
            let place = Transform::from_row(scale, 0.0, 0.0, -scale, at.0, at.1);
            if let Some(outline) = outline.transform(place) {
                self.path.push_path(&outline);
            }
            return;
        }
        let Some(image) = face.glyph_raster_image(glyph, u16::MAX) else { return };
        if image.format != RasterImageFormat::PNG || image.pixels_per_em == 0 {
            return;
        }
        let Ok(pixels) = Pixmap::decode_png(image.data) else { return };
        let scale = self.size / f32::from(image.pixels_per_em);
        // The picture's lower left corner, in its own pixels, y upwards.
        let top = at.1 - (f32::from(image.y) + f32::from(image.height)) * scale;
        let place =
            Transform::from_row(scale, 0.0, 0.0, scale, at.0 + f32::from(image.x) * scale, top);
        self.pictures.push((pixels, place));
    }

    /// A box for each letter.
    fn boxes(&mut self, text: &str, leftwards: bool) {
        let visible = text.chars().filter(|c| !ignorable(*c));
        let letters: Vec<char> = if leftwards {
            visible.collect::<Vec<_>>().into_iter().rev().collect()
        } else {
            visible.collect()
        };
        letters.into_iter().for_each(|letter| self.unknown(letter));
    }

    /// A box with the letter's number in Unicode, in two rows of digits.
    fn unknown(&mut self, letter: char) {
        if ignorable(letter) {
            return;
        }
        if letter.is_whitespace() {
            self.x += 0.25 * self.size;
            return;
        }
        let number = format!("{:04X}", u32::from(letter));
        let number = if number.len() > 4 { format!("{number:0>6}") } else { number };
        let (upper, lower) = number.split_at(number.len() / 2);
        // Large enough to be read where the text is small, too.
        let digits = (0.42 * self.size).max(6.0);
        let (height, gap, rim) = (0.72 * digits, 0.24 * digits, 0.1 * digits);
        let widest = [upper, lower].map(|row| typeface::advance(row, digits, false));
        let inside = widest[0].max(widest[1]) + 2.0 * gap;
        let left = self.x + 0.06 * self.size;
        let (right, bottom) = (left + inside, gap);
        let top = -(2.0 * height + 2.0 * gap);
        // The inner edge runs the other way round, so that the box is not filled.
        let corners = [(left, top), (right, top), (right, bottom), (left, bottom)];
        let inner = [
            (left + rim, top + rim),
            (left + rim, bottom - rim),
            (right - rim, bottom - rim),
            (right - rim, top + rim),
        ];
        for edge in [corners, inner] {
            self.path.move_to(edge[0].0, edge[0].1);
            edge[1..].iter().for_each(|corner| self.path.line_to(corner.0, corner.1));
            self.path.close();
        }
        for (row, width, y) in [(upper, widest[0], -(height + gap)), (lower, widest[1], 0.0)] {
            let mut path = PathBuilder::new();
            let x = left + (inside - width) / 2.0;
            typeface::outline(row, digits, false, x, &mut path);
            let place = Transform::from_translate(0.0, y);
            if let Some(row) = path.finish().and_then(|path| path.transform(place)) {
                self.path.push_path(&row);
            }
        }
        self.x = right + 0.06 * self.size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(text: &str) -> Letters {
        let none: &'static Fonts = Box::leak(Box::new(Fonts::none()));
        lay_out(text, 100.0, false, || none)
    }

    #[test]
    fn without_any_font_every_letter_has_a_box() {
        for text in ["漢", "שלום", "नमस्ते", "🐈", "قطة", "\u{10fffd}"] {
            let one = bare(&text.chars().take(1).collect::<String>());
            let all = bare(text);
            assert!(one.outline.is_some() && one.width > 50.0, "{text}");
            let letters = text.chars().filter(|c| !ignorable(*c)).count();
            assert!(all.width > 0.9 * one.width * letters as f32, "{text}: {}", all.width);
        }
        assert!(bare("\u{200d}\u{fe0f}").outline.is_none());
        assert!(bare("\u{0}\u{1b}").outline.is_some());
    }

    #[test]
    fn a_text_is_as_wide_as_what_it_is_made_of() {
        let known = bare("Größe ").width;
        let mixed = bare("Größe 漢").width;
        assert!((mixed - known - bare("漢").width).abs() < 1.0);
        assert_eq!(width("Größe", 50.0, true), typeface::advance("Größe", 50.0, true));
    }

    #[test]
    fn right_to_left_text_begins_on_the_right() {
        let source = |text: &str| -> Vec<String> {
            let paragraph = ParagraphBidiInfo::new(text, None);
            let (_, runs) = paragraph.visual_runs(0..text.len());
            runs.into_iter().map(|run| text[run].to_owned()).collect()
        };
        assert_eq!(source("a שלום b"), ["a ", "שלום", " b"]);
        assert_eq!(source("שלום 12"), ["12", "שלום "]);
        // Whatever fonts there are.
        for text in ["שלום עולם", "قطة سوداء", "abc قطة 12"] {
            let laid = letters(text, 20.0, false);
            assert!(laid.outline.is_some() && laid.width > 20.0, "{text}");
        }
    }

    #[test]
    fn marks_and_joiners_stay_with_their_letters() {
        let parts = |text: &'static str| -> Vec<&str> {
            clusters(text).into_iter().map(|range| &text[range]).collect()
        };
        assert_eq!(parts("e\u{301}a"), ["e\u{301}", "a"]);
        assert_eq!(parts("👩\u{200d}🚀!"), ["👩\u{200d}🚀", "!"]);
        assert_eq!(parts("❤\u{fe0f}👍🏽"), ["❤\u{fe0f}", "👍🏽"]);
    }
}
