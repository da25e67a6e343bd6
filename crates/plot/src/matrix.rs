use crate::{
    Error, Picture, Result,
    style::{Anchor, FADED, GRID, Type},
    svg::{Svg, fitted, width},
};

/// A square matrix of counts by true and predicted class, coloured by the share of the row.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    /// The headline.
    pub title: String,
    /// A line below the title; may be empty.
    pub subtitle: String,
    /// What the rows are.
    pub row_label: String,
    /// What the columns are.
    pub column_label: String,
    /// The name of each row and column.
    pub names: Vec<String>,
    /// `[row][column]`, at least 0.
    pub values: Vec<Vec<f64>>,
}

/// A colour between white and `full`.
fn tint(full: [u8; 3], share: f64) -> String {
    let mix = |c: u8| (255.0 + (f64::from(c) - 255.0) * share.clamp(0.0, 1.0)).round() as u8;
    let [r, g, b] = full.map(mix);
    format!("#{r:02x}{g:02x}{b:02x}")
}

const RIGHT_ANSWER: [u8; 3] = [0x1f, 0x5f, 0xa5];
const MISTAKE: [u8; 3] = [0xc8, 0x42, 0x1b];

impl Matrix {
    /// Lays it out; 800 units wide for up to 40 classes, then as wide as the classes need, at most
    /// 4,000.
    ///
    /// Cells show count and share where they are large enough; names are thinned out where they
    /// would overlap. If there are more than 50,000 different mistakes, the rarest are left out.
    ///
    /// # Errors
    /// [`Error::Matrix`] unless it is square with one name for each row.
    pub fn draw(&self) -> Result<Picture> {
        let k = self.names.len();
        if k == 0 || self.values.len() != k || self.values.iter().any(|row| row.len() != k) {
            return Err(Error::Matrix { rows: self.values.len(), names: k });
        }
        let name_size = if k <= 20 { 13.0 } else { 10.5 };
        let longest = self.names.iter().map(|s| width(s, name_size)).fold(0.0, f64::max);
        let most = if k <= 12 { 230.0 } else { 150.0 };
        let names_room = longest.clamp(30.0, most) + 14.0;
        let left = 40.0 + names_room;
        let cell = ((760.0 - left) / k as f64).clamp(3.0, 132.0);
        let cell = if k > 40 { (3840.0 / k as f64).min(cell.max(14.0)).max(1.0) } else { cell };
        let side = cell * k as f64;
        // Names that are wider than their cells are turned.
        let turned = longest > cell - 8.0;
        let names_height = if turned { names_room } else { 26.0 };
        let total = (left + side + 40.0).max(800.0);
        let left = if k <= 40 { left + (total - 40.0 - left - side) / 2.0 } else { left };

        let mut svg = Svg::default();
        svg.text(
            (24.0, 36.0),
            &fitted(&self.title, 19.0, total - 48.0),
            Type::new(19.0, Anchor::Start).bold(),
        );
        let mut y = 36.0;
        if !self.subtitle.is_empty() {
            y += 21.0;
            let style = Type::new(13.0, Anchor::Start).colour(FADED);
            svg.text((24.0, y), &fitted(&self.subtitle, 13.0, total - 48.0), style);
        }
        y += 32.0;
        svg.text(
            (left + side / 2.0, y),
            &self.column_label,
            Type::new(13.5, Anchor::Middle).bold(),
        );
        let top = y + 6.0 + names_height;
        let row_label = Type::new(13.5, Anchor::Middle).bold().turn(-90.0);
        svg.text((left - names_room - 8.0, top + side / 2.0), &self.row_label, row_label);

        let every = (name_size * 1.15 / cell).ceil().max(1.0) as usize;
        for (i, name) in self.names.iter().enumerate().step_by(every) {
            let name = fitted(name, name_size, most);
            let middle = (i as f64 + 0.5) * cell;
            let style = Type::new(name_size, Anchor::End);
            svg.text((left - 9.0, top + middle + name_size * 0.35), &name, style);
            if turned {
                let style = Type::new(name_size, Anchor::Start).turn(-90.0);
                svg.text((left + middle + name_size * 0.35, top - 9.0), &name, style);
            } else {
                let style = Type::new(name_size, Anchor::Middle);
                svg.text((left + middle, top - 9.0), &name, style);
            }
        }
        // Hundreds of classes have hundreds of thousands of cells. Empty ones say nothing, and of
        // the mistakes only the most frequent are drawn, as many as every viewer can handle.
        svg.rect([left, top, side, side], "#ffffff", Some(GRID));
        let mut mistakes: Vec<f64> = Vec::new();
        for (i, row) in self.values.iter().enumerate() {
            mistakes
                .extend(row.iter().enumerate().filter(|(j, v)| *j != i && **v > 0.0).map(|e| e.1));
        }
        mistakes.sort_by(|a, b| b.total_cmp(a));
        const MOST: usize = 50_000;
        let least = mistakes.get(MOST).copied().unwrap_or(0.0);
        let mut room = MOST;
        for (i, row) in self.values.iter().enumerate() {
            let sum: f64 = row.iter().sum();
            for (j, &value) in row.iter().enumerate() {
                if i != j && value > 0.0 {
                    if value < least || room == 0 {
                        continue;
                    }
                    room -= 1;
                } else if i != j && cell < 8.0 {
                    continue;
                }
                let share = if sum > 0.0 { value / sum } else { 0.0 };
                // The square root makes a few mistakes among many answers visible.
                let fill =
                    if i == j { tint(RIGHT_ANSWER, share) } else { tint(MISTAKE, share.sqrt()) };
                let (x, y) = (left + j as f64 * cell, top + i as f64 * cell);
                let stroke = if cell >= 8.0 { Some(GRID) } else { None };
                svg.rect([x, y, cell, cell], &fill, stroke);
                let ink = ink(i == j, value, share);
                figures(&mut svg, [x, y, cell], value, share, ink);
            }
        }
        Ok(svg.finish(total, top + side + 36.0))
    }
}

/// The colour of a cell's figures, which must be read on its fill.
fn ink(is_right: bool, value: f64, share: f64) -> &'static str {
    let dark = if is_right { share > 0.65 } else { share > 0.55 };
    match dark {
        _ if value == 0.0 => "#b3bac1",
        true => "#ffffff",
        false => "#23282d",
    }
}

/// Count and share in a cell (left, top, side), as far as there is room for them.
fn figures(svg: &mut Svg, [x, y, cell]: [f64; 3], value: f64, share: f64, ink: &'static str) {
    let middle = (x + cell / 2.0, y + cell / 2.0);
    let count = if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") };
    if cell >= 52.0 {
        let number = Type::new((cell * 0.2).clamp(14.0, 22.0), Anchor::Middle).bold();
        if value == 0.0 {
            // What never happened needs no percentage.
            let nothing = Type::new(13.0, Anchor::Middle).colour(ink);
            return svg.text((middle.0, middle.1 + 4.5), &count, nothing);
        }
        svg.text((middle.0, middle.1 + 1.0), &count, number.colour(ink));
        let percent = format!("{:.1} %", share * 100.0);
        let size = (cell * 0.12).clamp(10.5, 13.0);
        let style = Type::new(size, Anchor::Middle).colour(ink);
        svg.text((middle.0, middle.1 + size + 5.0), &percent, style);
        return;
    }
    let size = (cell * 0.42).min(14.0);
    let size = size.min(size * (cell - 3.0) / width(&count, size));
    if size >= 5.8 && (value > 0.0 || cell >= 24.0) {
        let style = Type::new(size, Anchor::Middle).colour(ink);
        svg.text((middle.0, middle.1 + size * 0.36), &count, style);
    }
}
