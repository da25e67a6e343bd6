//! The fonts of the machine, for letters that the embedded ones do not have.

use std::{
    collections::HashMap,
    sync::{Mutex, OnceLock},
};

use fontdb::{Database, FaceInfo, ID, Style};
use ttf_parser::{Face, RasterImageFormat};

/// Fonts, in the order in which they are asked for a letter.
pub(crate) struct Fonts {
    database: Database,
    /// Regular and bold; of emoji, those with colours come first.
    order: [Vec<ID>; 2],
    /// What was found for a letter, and whether it was to be bold.
    known: Mutex<HashMap<(char, bool), Option<ID>>>,
}

impl Fonts {
    /// The machine's, read when they are first needed.
    pub(crate) fn system() -> &'static Self {
        static FONTS: OnceLock<Fonts> = OnceLock::new();
        FONTS.get_or_init(|| {
            let mut database = Database::new();
            database.load_system_fonts();
            Self::new(database)
        })
    }

    /// A machine without fonts.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self::new(Database::new())
    }

    fn new(database: Database) -> Self {
        let order = [false, true].map(|bold| {
            let mut faces: Vec<&FaceInfo> = database.faces().collect();
            faces.sort_by_cached_key(|face| preference(face, bold));
            faces.into_iter().map(|face| face.id).collect()
        });
        Self { database, order, known: Mutex::default() }
    }

    /// A font that can show this letter.
    pub(crate) fn find(&self, letter: char, bold: bool) -> Option<ID> {
        let known = |found: Option<&Option<ID>>| found.copied();
        if let Ok(cache) = self.known.lock()
            && let Some(found) = known(cache.get(&(letter, bold)))
        {
            return found;
        }
        let order = &self.order[usize::from(bold)];
        let shows = |id: &&ID| self.shows(**id, letter);
        let found = match is_emoji(letter) {
            // A coloured picture before an outline.
            true => order
                .iter()
                .filter(|id| self.is_emoji_font(**id))
                .find(shows)
                .or_else(|| order.iter().find(shows)),
            false => order.iter().find(shows),
        }
        .copied();
        if let Ok(mut cache) = self.known.lock() {
            cache.insert((letter, bold), found);
        }
        found
    }

    /// Whether a font has a letter, and in a form that can be drawn.
    pub(crate) fn shows(&self, id: ID, letter: char) -> bool {
        let shows = |data: &[u8], index: u32| {
            let face = Face::parse(data, index).ok()?;
            let glyph = face.glyph_index(letter)?;
            if letter.is_whitespace() || ignorable(letter) {
                return Some(());
            }
            if face.glyph_bounding_box(glyph).is_some() {
                return Some(());
            }
            let image = face.glyph_raster_image(glyph, u16::MAX)?;
            (image.format == RasterImageFormat::PNG).then_some(())
        };
        self.database.with_face_data(id, shows).flatten().is_some()
    }

    /// Calls `then` with the bytes of a font and the number of the face in them.
    pub(crate) fn with<T>(&self, id: ID, then: impl FnOnce(&[u8], u32) -> T) -> Option<T> {
        self.database.with_face_data(id, then)
    }

    fn is_emoji_font(&self, id: ID) -> bool {
        self.database
            .face(id)
            .is_some_and(|face| face.families.iter().any(|(name, _)| name.contains("Emoji")))
    }
}

/// Upright sans-serif fonts of the wanted weight first; the name decides between equals, so that
/// the choice does not depend on the order of files.
fn preference(face: &FaceInfo, bold: bool) -> (bool, bool, bool, u16, u16, String, String) {
    let name = face.families.first().map(|(name, _)| name.clone()).unwrap_or_default();
    let weight: u16 = if bold { 700 } else { 400 };
    (
        face.style != Style::Normal,
        face.monospaced,
        !name.contains("Sans"),
        face.stretch.to_number().abs_diff(fontdb::Stretch::Normal.to_number()),
        face.weight.0.abs_diff(weight),
        name,
        face.post_script_name.clone(),
    )
}

/// Letters that are drawn as coloured pictures where possible.
pub(crate) fn is_emoji(letter: char) -> bool {
    matches!(u32::from(letter), 0x1f000..=0x1faff | 0x2600..=0x27bf | 0x2b00..=0x2bff)
}

/// Letters that only change others: joiners, variation selectors, marks of direction.
pub(crate) fn ignorable(letter: char) -> bool {
    matches!(
        u32::from(letter),
        0x00ad | 0x034f | 0x061c | 0x180b..=0x180f | 0x200b..=0x200f | 0x202a..=0x202e
            | 0x2060..=0x206f | 0xfe00..=0xfe0f | 0xfeff | 0xe0000..=0xe0fff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_font_has_is_not_found_again_and_again() {
        let fonts = Fonts::none();
        assert_eq!(fonts.find('漢', false), None);
        assert_eq!(fonts.known.lock().unwrap().len(), 1);
        assert_eq!(fonts.find('漢', false), None);
        // A letter for private use, which no font of a test machine should have.
        assert_eq!(Fonts::system().find('\u{10fffd}', true), None);
    }
}
