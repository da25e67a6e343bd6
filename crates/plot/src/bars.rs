use crate::{
    Picture,
    style::{Anchor, FADED, GRID, INK, Type},
    svg::{Svg, fitted, width},
};

/// One of the [`Bars`].
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// Its name.
    pub label: String,
    /// Its length, at least 0; one that is not finite has none.
    pub value: f64,
    /// What stands at its end, e.g. the value with its unit.
    pub text: String,
}

/// Horizontal bars from a common zero, each with its name.
///
/// ```
/// use taper_plot::{Bar, Bars};
/// let bar = Bar { label: "learning rate".into(), value: 0.7, text: "70 %".into() };
/// let bars = Bars { title: "What matters".into(), bars: vec![bar], ..Bars::default() };
/// assert!(bars.draw().svg().contains("learning rate"));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bars {
    /// The headline.
    pub title: String,
    /// A line below the title; may be empty.
    pub subtitle: String,
    /// What the lengths are.
    pub x_label: String,
    /// The bars from top to bottom.
    pub bars: Vec<Bar>,
    /// As in SVG, e.g. one of [`crate::colour`]; by default its blue.
    pub colour: Option<&'static str>,
}

const WIDTH: f64 = 800.0;
const MARGIN: f64 = 24.0;
const ROW: f64 = 28.0;

impl Bars {
    /// Lays them out, 800 units wide.
    pub fn draw(&self) -> Picture {
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
        let widest = |texts: &mut dyn Iterator<Item = &String>, size: f64| {
            texts.map(|text| width(text, size)).fold(0.0, f64::max)
        };
        let names = widest(&mut self.bars.iter().map(|bar| &bar.label), 13.0).clamp(30.0, 230.0);
        let texts = widest(&mut self.bars.iter().map(|bar| &bar.text), 12.5).clamp(0.0, 150.0);
        let left = MARGIN + names + 10.0;
        let room = WIDTH - MARGIN - texts - 10.0 - left;
        let length = |bar: &Bar| if bar.value.is_finite() { bar.value.max(0.0) } else { 0.0 };
        let longest = self.bars.iter().map(length).fold(0.0, f64::max);
        let top = y;
        for bar in &self.bars {
            let share = if longest > 0.0 { length(bar) / longest } else { 0.0 };
            let middle = y + ROW / 2.0;
            let label = fitted(&bar.label, 13.0, names);
            svg.text((left - 10.0, middle + 4.5), &label, Type::new(13.0, Anchor::End));
            let area = [left, y + 5.0, (room * share).max(0.5), ROW - 10.0];
            svg.rect(area, self.colour.unwrap_or(crate::colour::BLUE), None);
            let at = (left + room * share + 8.0, middle + 4.2);
            svg.text(at, &fitted(&bar.text, 12.5, 150.0), Type::new(12.5, Anchor::Start));
            y += ROW;
        }
        if self.bars.is_empty() {
            let area = [left, y, room, ROW];
            svg.rect(area, "#fbfbfc", Some(GRID));
            let style = Type::new(13.0, Anchor::Middle).colour(FADED);
            svg.text((left + room / 2.0, y + ROW / 2.0 + 4.0), "nothing to show", style);
            y += ROW;
        }
        svg.line([left, top, left, y], INK, 1.2, "");
        svg.text((left + room / 2.0, y + 22.0), &self.x_label, Type::new(13.5, Anchor::Middle));
        svg.finish(WIDTH, y + 36.0)
    }
}
