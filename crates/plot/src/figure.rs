use crate::{
    Picture, Scale,
    axis::{Axis, range},
    style::{Anchor, FADED, GRID, INK, Type},
    svg::{Svg, fitted, width},
};

/// How a line is drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Style {
    /// Without gaps.
    #[default]
    Solid,
    /// Dashes.
    Dashed,
    /// Dashes and dots in turn.
    DashDotted,
    /// Dots.
    Dotted,
}

impl Style {
    fn dash(self) -> &'static str {
        match self {
            Style::Solid => "",
            Style::Dashed => "6 4",
            Style::DashDotted => "8 3 1.5 3",
            Style::Dotted => "1.5 3",
        }
    }
}

/// A series of values in a [`Panel`].
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Its name in the legend; if it is empty, the line is not in the legend.
    pub label: String,
    /// x and y. Where one of them is not finite, or not above 0 on a logarithmic axis, the line has
    /// a gap.
    pub points: Vec<(f64, f64)>,
    /// As in SVG, e.g. one of [`crate::colour`].
    pub colour: &'static str,
    /// In SVG units; 2 is usual.
    pub width: f64,
    /// How it is drawn.
    pub style: Style,
    /// Whether each value gets a dot. A value between two gaps always does.
    pub dots: bool,
}

impl Line {
    /// A solid line of usual width.
    pub fn new(label: impl Into<String>, colour: &'static str, points: Vec<(f64, f64)>) -> Self {
        Self { label: label.into(), points, colour, width: 2.0, style: Style::Solid, dots: false }
    }
}

/// A point of note in a [`Panel`], named in the legend.
#[derive(Debug, Clone, PartialEq)]
pub struct Marker {
    /// Its name in the legend.
    pub label: String,
    /// x and y.
    pub at: (f64, f64),
    /// As in SVG, e.g. one of [`crate::colour`].
    pub colour: &'static str,
}

/// A vertical line through all panels, named at the top.
#[derive(Debug, Clone, PartialEq)]
pub struct Vertical {
    /// Its name.
    pub label: String,
    /// Where it stands.
    pub x: f64,
    /// As in SVG, e.g. one of [`crate::colour`].
    pub colour: &'static str,
    /// How it is drawn.
    pub style: Style,
}

/// One of the charts of a [`Figure`], which are stacked above a common horizontal axis.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Panel {
    /// What the vertical axis shows.
    pub title: String,
    /// Height of the chart itself, in SVG units.
    pub height: f64,
    /// The vertical axis.
    pub scale: Scale,
    /// The range of the vertical axis; by default, what the lines need.
    pub range: Option<(f64, f64)>,
    /// The series, drawn in order.
    pub lines: Vec<Line>,
    /// Points of note, drawn above the lines.
    pub markers: Vec<Marker>,
}

/// Stacked line charts.
///
/// ```
/// use taper_plot::{Figure, Line, Panel, Scale, colour};
/// let figure = Figure {
///     title: "A parabola".into(),
///     x_label: "x".into(),
///     panels: vec![Panel {
///         title: "x²".into(),
///         height: 200.0,
///         lines: vec![Line::new("x²", colour::BLUE, (0..10).map(|x| (x.into(), (x * x).into())).collect())],
///         ..Panel::default()
///     }],
///     ..Figure::default()
/// };
/// let picture = figure.draw();
/// assert!(picture.svg().contains("A parabola"));
/// assert!(picture.png(1.0)?.starts_with(b"\x89PNG"));
/// # Ok::<(), taper_plot::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figure {
    /// The headline.
    pub title: String,
    /// A line below the title; may be empty.
    pub subtitle: String,
    /// What the common horizontal axis shows.
    pub x_label: String,
    /// The common horizontal axis.
    pub x_scale: Scale,
    /// Names of the whole numbers from 0 on the horizontal axis, which stand in place of numbers
    /// if there are any.
    pub x_names: Vec<String>,
    /// The charts from top to bottom.
    pub panels: Vec<Panel>,
    /// Lines through all of them.
    pub verticals: Vec<Vertical>,
}

const WIDTH: f64 = 800.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 24.0;
const HEADER: f64 = 30.0;
const GAP: f64 = 16.0;

impl Figure {
    /// Lays it out, 800 units wide.
    pub fn draw(&self) -> Picture {
        let mut svg = Svg::default();
        let (left, right) = (LEFT, WIDTH - RIGHT);
        let mut y = 36.0;
        let title = fitted(&self.title, 19.0, right - left + 40.0);
        svg.text((24.0, y), &title, Type::new(19.0, Anchor::Start).bold());
        if !self.subtitle.is_empty() {
            y += 21.0;
            let subtitle = fitted(&self.subtitle, 13.0, WIDTH - 48.0);
            svg.text((24.0, y), &subtitle, Type::new(13.0, Anchor::Start).colour(FADED));
        }
        y += 14.0;

        let xs = self.panels.iter().flat_map(|p| &p.lines).flat_map(|l| &l.points).map(|p| p.0);
        let last = self.x_names.len().checked_sub(1).map(|last| last as f64);
        // Half a place is left beside the first and the last name.
        let names = last.into_iter().flat_map(|last| [-0.5, last + 0.5]);
        let verticals = self.verticals.iter().map(|v| v.x);
        let x_range = range(self.x_scale, xs.chain(verticals).chain(names));
        let x_axis = Axis::new(self.x_scale, x_range.unwrap_or((1.0, 10.0)), (left, right));

        // One row for each label, in an order in which no line crosses another line's label: labels
        // extend towards the middle.
        let middle = (left + right) / 2.0;
        let mut tops: Vec<(&Vertical, f64)> =
            self.verticals.iter().filter_map(|v| Some((v, x_axis.at(v.x)?))).collect();
        tops.sort_by(|a, b| {
            let outwards = |x: f64| if x < middle { x } else { right - x + middle };
            outwards(a.1).total_cmp(&outwards(b.1))
        });

        let (mut grids, mut lines, mut panels) = (Svg::default(), Svg::default(), Svg::default());
        let mut bottom = y;
        for (i, panel) in self.panels.iter().enumerate() {
            y = self.legend(&mut panels, panel, y);
            let top = y;
            if i == 0 && !tops.is_empty() {
                y += 17.0 * tops.len() as f64 + 3.0;
            }
            let area = [left, y, right - left, panel.height];
            self.panel(&mut grids, &mut panels, i, panel, area, &x_axis);
            bottom = y + panel.height;
            // Within the charts only, so that no line crosses a heading or a legend; on top of the
            // first one stands what they mean.
            for (row, (vertical, x)) in tops.iter().enumerate() {
                let from = if i == 0 { top + 17.0 * row as f64 + 3.0 } else { y };
                lines.line([*x, from, *x, bottom], vertical.colour, 1.8, vertical.style.dash());
                if i == 0 {
                    vertical_label(&mut panels, vertical, (*x, from + 11.5), *x < middle);
                }
            }
            y = bottom + GAP;
        }
        svg.append(grids);
        // Behind text and data, which matter more.
        svg.append(lines);
        svg.append(panels);
        for (x, label) in self.x_ticks(&x_axis) {
            if let Some(x) = x_axis.at(x) {
                svg.text((x, bottom + 18.0), &label, Type::new(12.5, Anchor::Middle));
            }
        }
        svg.text((middle, bottom + 40.0), &self.x_label, Type::new(13.5, Anchor::Middle));
        svg.finish(WIDTH, bottom + 54.0)
    }

    /// Labels of the horizontal axis and where they stand.
    fn x_ticks(&self, axis: &Axis) -> Vec<(f64, String)> {
        if self.x_names.is_empty() {
            return axis.ticks(10).0;
        }
        let room = (WIDTH - LEFT - RIGHT) / self.x_names.len() as f64 - 6.0;
        let label = |(i, name): (usize, &String)| (i as f64, fitted(name, 12.5, room));
        self.x_names.iter().enumerate().map(label).collect()
    }

    /// Draws the panel's title and legend; returns where the chart begins.
    fn legend(&self, svg: &mut Svg, panel: &Panel, top: f64) -> f64 {
        let mut baseline = top + HEADER - 10.0;
        svg.text((LEFT, baseline), &panel.title, Type::new(14.0, Anchor::Start).bold().rim());
        let indent = LEFT + width(&panel.title, 14.0) * 1.08 + 22.0;
        let mut x = indent;
        let lines = panel.lines.iter().map(|l| (&l.label, l.colour, Some(l)));
        let markers = panel.markers.iter().map(|m| (&m.label, m.colour, None));
        for (label, colour, line) in lines.chain(markers).filter(|entry| !entry.0.is_empty()) {
            let swatch = if line.is_some() { 28.0 } else { 12.0 };
            let needs = swatch + width(label, 12.5) + 18.0;
            if x + needs > WIDTH - RIGHT && x > indent {
                x = indent;
                baseline += 18.0;
            }
            let y = baseline - 4.5;
            match line {
                Some(line) => {
                    svg.line([x, y, x + 22.0, y], colour, line.width.max(1.5), line.style.dash());
                    if line.dots {
                        svg.circle((x + 11.0, y), 2.6, colour, colour);
                    }
                }
                None => svg.circle((x + 5.0, y), 4.2, colour, "#ffffff"),
            }
            svg.text((x + swatch, baseline), label, Type::new(12.5, Anchor::Start).rim());
            x += needs;
        }
        baseline + 10.0
    }

    /// One of the stacked charts, in `[left, top, width, height]`.
    fn panel(
        &self,
        grid: &mut Svg,
        svg: &mut Svg,
        i: usize,
        panel: &Panel,
        area: [f64; 4],
        x_axis: &Axis,
    ) {
        let [left, top, w, h] = area;
        let (right, bottom) = (left + w, top + h);
        let values = panel.lines.iter().flat_map(|l| &l.points).map(|p| p.1);
        let Some(needed) = range(panel.scale, values) else {
            grid.rect(area, "#fbfbfc", Some(GRID));
            let style = Type::new(13.0, Anchor::Middle).colour(FADED);
            svg.text(((left + right) / 2.0, (top + bottom) / 2.0 + 4.0), "no finite values", style);
            return;
        };
        let pad = |(low, high): (f64, f64)| match panel.scale {
            Scale::Log => (low / 1.25, high * 1.25),
            _ => (low - 0.06 * (high - low), high + 0.06 * (high - low)),
        };
        let y_axis =
            Axis::new(panel.scale, panel.range.unwrap_or_else(|| pad(needed)), (bottom, top));

        let fine = if self.x_names.is_empty() { x_axis.ticks(10).1 } else { Vec::new() };
        for x in fine {
            if let Some(x) = x_axis.at(x) {
                grid.line([x, top, x, bottom], "#f1f3f5", 1.0, "");
            }
        }
        for (x, _) in self.x_ticks(x_axis) {
            if let Some(x) = x_axis.at(x) {
                grid.line([x, top, x, bottom], GRID, 1.0, "");
            }
        }
        let about = ((h / 42.0).round() as usize).clamp(2, 8);
        for (value, label) in y_axis.ticks(about).0 {
            if let Some(y) = y_axis.at(value) {
                grid.line([left, y, right, y], GRID, 1.0, "");
                grid.text((left - 8.0, y + 4.2), &label, Type::new(12.0, Anchor::End));
            }
        }
        grid.line([left, bottom, right, bottom], INK, 1.2, "");
        grid.line([left, top, left, bottom], INK, 1.2, "");

        // Dots at the edge may extend beyond the chart; lines outside its range are clipped.
        svg.clip(i, [left - 4.0, top - 4.0, w + 8.0, h + 8.0]);
        for line in &panel.lines {
            let at: Vec<Option<(f64, f64)>> =
                line.points.iter().map(|p| Some((x_axis.at(p.0)?, y_axis.at(p.1)?))).collect();
            for run in at.split(Option::is_none) {
                let run: Vec<(f64, f64)> = run.iter().copied().flatten().collect();
                if run.len() > 1 {
                    svg.path(&run, line.colour, line.width, line.style.dash());
                }
                if line.dots || run.len() == 1 {
                    for point in run {
                        svg.circle(point, 2.6, line.colour, line.colour);
                    }
                }
            }
        }
        for marker in &panel.markers {
            if let (Some(x), Some(y)) = (x_axis.at(marker.at.0), y_axis.at(marker.at.1)) {
                svg.circle((x, y), 5.0, marker.colour, "#ffffff");
            }
        }
        svg.end_clip();
    }
}

/// Beside the upper end of its line, towards the middle.
fn vertical_label(svg: &mut Svg, vertical: &Vertical, (x, y): (f64, f64), rightwards: bool) {
    let style = Type::new(12.5, Anchor::Start).colour(vertical.colour).bold().rim();
    if rightwards {
        svg.text((x + 6.0, y), &vertical.label, style);
    } else {
        svg.text((x - 6.0, y), &vertical.label, Type { anchor: Anchor::End, ..style });
    }
}
