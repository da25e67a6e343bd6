use tiny_skia::{Pixmap, PremultipliedColorU8};

use crate::{
    Error, Result,
    letters::has_right_to_left,
    mark::marked,
    style::{Anchor, FADED, GRID, INK, Type},
    svg::{Svg, fitted, fitted_end},
};

/// A photograph on a [`Sheet`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tile {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// u8 RGB, rows from the top: `width · height · 3` bytes. Without any bytes, an empty frame is
    /// drawn, for a picture that cannot be shown; without a caption too, the place stays blank.
    pub pixels: Vec<u8>,
    /// Lines below the picture; of text that does not fit, the beginning is shown, or of a path the
    /// end.
    pub caption: Vec<String>,
}

/// Photographs in rows and columns, with captions: 800 pixels wide, and readable at that size.
///
/// ```
/// use taper_plot::{Sheet, Tile};
/// let tile = Tile { width: 2, height: 1, pixels: vec![255, 0, 0, 0, 0, 255], caption: vec!["two pixels".into()] };
/// let sheet = Sheet { title: "All pictures".into(), columns: 4, tiles: vec![tile], ..Sheet::default() };
/// assert!(sheet.png()?.starts_with(b"\x89PNG"));
/// # Ok::<(), taper_plot::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sheet {
    /// The headline.
    pub title: String,
    /// A line below the title; may be empty.
    pub subtitle: String,
    /// Tiles in a row, 1 to 16.
    pub columns: usize,
    /// Columns that belong together, such as 2 for pairs: a wider gap follows each group. 0 or 1
    /// for none.
    pub group: usize,
    /// The tiles, row by row.
    pub tiles: Vec<Tile>,
}

const WIDTH: f64 = 800.0;
const MARGIN: f64 = 24.0;
const GAP: f64 = 8.0;
const WIDE_GAP: f64 = 28.0;
const LINE: f64 = 14.0;

impl Sheet {
    /// Side of the square that a tile is shown in, in pixels: pictures may be scaled to it
    /// beforehand. Larger ones are subsampled, smaller ones shown at their own size or a whole
    /// multiple of it.
    pub fn side(&self) -> u32 {
        let columns = self.columns.clamp(1, 16);
        let gaps: f64 = (1..columns).map(|column| self.gap(column)).sum();
        ((WIDTH - 2.0 * MARGIN - gaps) / columns as f64).floor() as u32
    }

    /// The gap before a column.
    fn gap(&self, column: usize) -> f64 {
        if self.group > 1 && column.is_multiple_of(self.group) { WIDE_GAP } else { GAP }
    }

    /// The sheet as a PNG file, 8-bit RGBA.
    ///
    /// # Errors
    /// [`Error::Raster`] if the number of bytes of a tile does not match its size, [`Error::Scale`]
    /// if there are so many that the sheet would be higher than 16,384 pixels.
    pub fn png(&self) -> Result<Vec<u8>> {
        let (columns, side) = (self.columns.clamp(1, 16), self.side());
        let mut svg = Svg::default();
        let mut y = 36.0;
        let title = fitted(&self.title, 19.0, WIDTH - 2.0 * MARGIN);
        svg.text((MARGIN, y), &title, Type::new(19.0, Anchor::Start).bold());
        if !self.subtitle.is_empty() {
            y += 21.0;
            let subtitle = fitted(&self.subtitle, 13.0, WIDTH - 2.0 * MARGIN);
            svg.text((MARGIN, y), &subtitle, Type::new(13.0, Anchor::Start).colour(FADED));
        }
        y += 18.0;
        let room = f64::from(side);
        let mut places = Vec::with_capacity(self.tiles.len());
        for row in self.tiles.chunks(columns) {
            let mut x = MARGIN;
            for (column, tile) in row.iter().enumerate() {
                if column > 0 {
                    x += room + self.gap(column);
                }
                places.push((x.round() as u32, y.round() as u32));
                if tile.pixels.is_empty() && tile.caption.is_empty() {
                    continue;
                }
                svg.rect([x - 0.5, y - 0.5, room + 1.0, room + 1.0], "#f7f8f9", Some(GRID));
                if tile.pixels.is_empty() {
                    let middle = (x + room / 2.0, y + room / 2.0 + 4.0);
                    let style = Type::new(12.0, Anchor::Middle).colour(FADED);
                    svg.text(middle, &fitted("cannot be shown", 12.0, room - 4.0), style);
                }
                for (line, text) in tile.caption.iter().enumerate() {
                    let style = Type::new(11.0, Anchor::Start);
                    let style = if line == 0 { style.colour(INK) } else { style.colour(FADED) };
                    let at = (x, y + room + LINE * (line + 1) as f64);
                    svg.text(at, &shortened(text, 11.0, room), style);
                }
            }
            let lines = row.iter().map(|tile| tile.caption.len()).max().unwrap_or(0);
            y += room + LINE * lines as f64 + 16.0;
        }
        let mut pixels = svg.finish(WIDTH, y + 8.0).pixmap(1.0)?;
        for (tile, place) in self.tiles.iter().zip(places) {
            show(&mut pixels, tile, place, side)?;
        }
        pixels.encode_png().map(marked).map_err(|e| Error::Raster(e.to_string()))
    }
}

/// A caption's line: the beginning of a name says more than its end, but the end of a path more
/// than its beginning. Folders stay in their order, whatever the direction in which they are
/// written.
fn shortened(text: &str, size: f64, room: f64) -> String {
    if !text.contains('/') {
        return fitted(text, size, room);
    }
    if has_right_to_left(text) {
        return fitted_end(&text.replace('/', "\u{200e}/\u{200e}"), size, room);
    }
    fitted_end(text, size, room)
}

/// Copies a tile's pixels into the middle of its square.
fn show(sheet: &mut Pixmap, tile: &Tile, (left, top): (u32, u32), side: u32) -> Result<()> {
    if tile.pixels.is_empty() {
        return Ok(());
    }
    let (width, height) = (tile.width as usize, tile.height as usize);
    if width == 0 || height == 0 || width.checked_mul(height * 3) != Some(tile.pixels.len()) {
        let problem = format!("a tile of {width} × {height} with {} bytes", tile.pixels.len());
        return Err(Error::Raster(problem));
    }
    let side = side as usize;
    let longer = width.max(height);
    let fit = |length: usize| {
        if longer > side { (length * side / longer).max(1) } else { length * (side / longer) }
    };
    let (shown_width, shown_height) = (fit(width), fit(height));
    let left = left as usize + (side - shown_width) / 2;
    let top = top as usize + (side - shown_height) / 2;
    let stride = sheet.width() as usize;
    let out = sheet.pixels_mut();
    for y in 0..shown_height {
        for x in 0..shown_width {
            let from = (y * height / shown_height * width + x * width / shown_width) * 3;
            let [r, g, b] = [0, 1, 2].map(|i| tile.pixels[from + i]);
            if let Some(pixel) = PremultipliedColorU8::from_rgba(r, g, b, 255)
                && let Some(to) = out.get_mut((top + y) * stride + left + x)
            {
                *to = pixel;
            }
        }
    }
    Ok(())
}
