use crate::{
    Picture,
    style::{Anchor, FADED, GRID, INK, Type},
    svg::{Svg, fitted},
};

/// One of the axes of [`Parallel`].
#[derive(Debug, Clone, PartialEq)]
pub struct ParallelAxis {
    /// Its name.
    pub name: String,
    /// Labels and where they stand: 0 at the bottom, 1 at the top.
    pub ticks: Vec<(f64, String)>,
}

/// A line from axis to axis in [`Parallel`].
#[derive(Debug, Clone, PartialEq)]
pub struct ParallelLine {
    /// Where it meets each axis: 0 at the bottom, 1 at the top; a gap where there is none.
    pub at: Vec<Option<f64>>,
    /// As in SVG, e.g. one of [`crate::colour`].
    pub colour: &'static str,
    /// In SVG units; 1 is usual.
    pub width: f64,
}

/// Parallel coordinates: an axis for each property, and a line for each thing that has them.
///
/// ```
/// use taper_plot::{Parallel, ParallelAxis, ParallelLine, colour};
/// let axis = |name: &str| ParallelAxis { name: name.into(), ticks: vec![(0.0, "0".into()), (1.0, "8".into())] };
/// let line = ParallelLine { at: vec![Some(0.2), Some(0.9)], colour: colour::BLUE, width: 1.0 };
/// let chart = Parallel { axes: vec![axis("layers"), axis("loss")], lines: vec![line], ..Parallel::default() };
/// assert!(chart.draw().svg().contains("layers"));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parallel {
    /// The headline.
    pub title: String,
    /// A line below the title; may be empty.
    pub subtitle: String,
    /// The axes from left to right.
    pub axes: Vec<ParallelAxis>,
    /// The lines, drawn in order.
    pub lines: Vec<ParallelLine>,
}

const MARGIN: f64 = 24.0;
const HEIGHT: f64 = 320.0;
/// Room for the labels to the left of an axis.
const LABELS: f64 = 84.0;

impl Parallel {
    /// Lays it out, 800 units wide, or as wide as the axes need.
    pub fn draw(&self) -> Picture {
        let count = self.axes.len().max(1);
        let total = (2.0 * MARGIN + 112.0 * count as f64).max(800.0);
        let mut svg = Svg::default();
        let mut y = 36.0;
        let title = fitted(&self.title, 19.0, total - 2.0 * MARGIN);
        svg.text((MARGIN, y), &title, Type::new(19.0, Anchor::Start).bold());
        if !self.subtitle.is_empty() {
            y += 21.0;
            let subtitle = fitted(&self.subtitle, 13.0, total - 2.0 * MARGIN);
            svg.text((MARGIN, y), &subtitle, Type::new(13.0, Anchor::Start).colour(FADED));
        }
        let top = y + 50.0;
        let bottom = top + HEIGHT;
        let first = MARGIN + LABELS;
        let distance = (total - MARGIN - 30.0 - first) / (count.max(2) - 1) as f64;
        let x = |axis: usize| first + distance * axis as f64;
        let at = |share: f64| bottom - share.clamp(0.0, 1.0) * HEIGHT;

        for axis in 0..self.axes.len() {
            svg.line([x(axis), top, x(axis), bottom], GRID, 6.0, "");
        }
        for line in &self.lines {
            let points: Vec<Option<(f64, f64)>> = line
                .at
                .iter()
                .enumerate()
                .map(|(axis, share)| share.filter(|s| s.is_finite()).map(|s| (x(axis), at(s))))
                .collect();
            for run in points.split(Option::is_none) {
                let run: Vec<(f64, f64)> = run.iter().copied().flatten().collect();
                match run[..] {
                    [] => {}
                    [point] => svg.circle(point, 2.6, line.colour, line.colour),
                    _ => svg.path(&run, line.colour, line.width, ""),
                }
            }
        }
        for (i, axis) in self.axes.iter().enumerate() {
            svg.line([x(i), top, x(i), bottom], INK, 1.2, "");
            let name = fitted(&axis.name, 13.0, distance.min(170.0) - 8.0);
            svg.text((x(i), top - 16.0), &name, Type::new(13.0, Anchor::Middle).bold());
            for (share, label) in &axis.ticks {
                svg.line([x(i) - 4.0, at(*share), x(i), at(*share)], INK, 1.2, "");
                let room = if i == 0 { LABELS } else { distance } - 14.0;
                let style = Type::new(11.5, Anchor::End).rim();
                svg.text((x(i) - 7.0, at(*share) + 4.0), &fitted(label, 11.5, room), style);
            }
        }
        svg.finish(total, bottom + 24.0)
    }
}
