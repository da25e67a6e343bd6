use taper_core::Direction;
use taper_plot::{
    Bar, Bars, Figure, Line, Panel, Parallel, ParallelAxis, ParallelLine, Picture, Scale, colour,
};

use crate::{Distribution, History, Importance, Slice, Value};

/// From the worst to the best trial: pale to dark.
const SHADES: [&str; 5] = ["#dbe4ee", "#b3cbe3", "#82aad3", "#4a83bd", "#1f5485"];

impl History<'_> {
    /// Draws the values of complete trials over their numbers, and the best value so far.
    pub fn plot_progress(&self, title: &str) -> Picture {
        let progress = self.progress();
        let values = progress.iter().map(|p| (p.number as f64, p.value));
        let mut best = Vec::new();
        for point in &progress {
            // A step, not a slope: nothing was known in between.
            let x = point.number as f64;
            best.extend(best.last().map(|(_, y)| (x, *y)));
            best.push((x, point.best));
        }
        let subtitle = match progress.last() {
            Some(last) => {
                format!("{} complete trials, best value {:.6}", progress.len(), last.best)
            }
            None => "no complete trials".into(),
        };
        let lines =
            vec![dots("trial", colour::BLUE, values), Line::new("best", colour::GREEN, best)];
        figure(title, subtitle, "trial", Scale::Whole, lines).draw()
    }

    /// Draws the objective's values over a parameter's, or none if there is no such parameter.
    pub fn plot_slice(&self, title: &str, parameter: &str) -> Option<Picture> {
        let slice = self.slices().into_iter().find(|slice| slice.name == parameter)?;
        let best = slice.points.iter().copied().reduce(|best, point| {
            let better = match self.direction {
                Direction::Min => point.2 < best.2,
                Direction::Max => point.2 > best.2,
            };
            if better { point } else { best }
        });
        let points = slice.points.iter().map(|(_, x, y)| (*x, *y));
        let mut lines = vec![dots("trial", colour::BLUE, points)];
        if let Some((number, x, y)) = best {
            lines.push(dots(&format!("best: trial {number}"), colour::RED, [(x, y)].into_iter()));
        }
        let scale = match &slice.distribution {
            Distribution::Float { log: true, .. } | Distribution::Int { log: true, .. } => {
                Scale::Log
            }
            Distribution::Float { .. } => Scale::Linear,
            Distribution::Int { .. } | Distribution::Categorical { .. } => Scale::Whole,
        };
        let mut figure = figure(title, String::new(), parameter, scale, lines);
        if let Distribution::Categorical { choices } = &slice.distribution {
            figure.x_names = choices.iter().map(Value::to_string).collect();
        }
        Some(figure.draw())
    }

    /// Draws every complete trial as a line through its parameters to its value, the better ones
    /// darker and in front.
    pub fn plot_parallel(&self, title: &str) -> Picture {
        let slices = self.slices();
        let mut trials = self.progress();
        trials.sort_by(|a, b| match self.direction {
            Direction::Min => b.value.total_cmp(&a.value),
            Direction::Max => a.value.total_cmp(&b.value),
        });
        let ends = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
                (low.min(v), high.max(v))
            })
        };
        let (low, high) = ends(&mut trials.iter().map(|trial| trial.value));
        let line = |(rank, trial): (usize, &crate::Progress)| {
            let place = |slice: &Slice| {
                let point = slice.points.iter().find(|(number, ..)| *number == trial.number)?;
                Some(share(&slice.distribution, point.1))
            };
            let value = if high > low { (trial.value - low) / (high - low) } else { 0.5 };
            let shade = rank * SHADES.len() / trials.len();
            ParallelLine {
                at: slices.iter().map(place).chain([Some(value)]).collect(),
                colour: if rank + 1 == trials.len() { colour::RED } else { SHADES[shade] },
                width: if rank + 1 == trials.len() { 2.0 } else { 1.0 },
            }
        };
        let lines = trials.iter().enumerate().map(line).collect();
        let mut axes: Vec<ParallelAxis> = slices.iter().map(axis).collect();
        let numbers = if trials.is_empty() { vec![] } else { vec![(0.0, low), (1.0, high)] };
        let ticks = numbers.iter().map(|(share, value)| (*share, short(*value))).collect();
        axes.push(ParallelAxis { name: "value".into(), ticks });
        let subtitle = format!("{} complete trials, the best one red", trials.len());
        Parallel { title: title.into(), subtitle, axes, lines }.draw()
    }
}

/// Draws how much each parameter matters.
pub fn plot_importance(title: &str, importance: &[Importance]) -> Picture {
    let bar = |importance: &Importance| Bar {
        label: importance.name.clone(),
        value: importance.share,
        text: format!("{:.1} %", importance.share * 100.0),
    };
    Bars {
        title: title.into(),
        subtitle: "PED-ANOVA: what makes a trial one of the best".into(),
        x_label: "share of the importance".into(),
        bars: importance.iter().map(bar).collect(),
        ..Bars::default()
    }
    .draw()
}

/// Points without a line between them.
fn dots(label: &str, colour: &'static str, points: impl Iterator<Item = (f64, f64)>) -> Line {
    // A value between two gaps gets a dot.
    let points = points.flat_map(|point| [point, (f64::NAN, f64::NAN)]).collect();
    Line { dots: true, ..Line::new(label, colour, points) }
}

fn figure(title: &str, subtitle: String, x: &str, x_scale: Scale, lines: Vec<Line>) -> Figure {
    let panel = Panel { title: "value".into(), height: 300.0, lines, ..Panel::default() };
    Figure {
        title: title.into(),
        subtitle,
        x_label: x.into(),
        x_scale,
        panels: vec![panel],
        ..Figure::default()
    }
}

/// Where a value stands between the ends of its range, on the scale of its distribution.
fn share(distribution: &Distribution, internal: f64) -> f64 {
    let (low, high, log) = match distribution {
        Distribution::Float { low, high, log, .. } => (*low, *high, *log),
        Distribution::Int { low, high, log, .. } => (*low as f64, *high as f64, *log),
        Distribution::Categorical { choices } => (0.0, choices.len() as f64 - 1.0, false),
    };
    let scaled = |value: f64| if log { value.ln() } else { value };
    let range = scaled(high) - scaled(low);
    if range > 0.0 { (scaled(internal) - scaled(low)) / range } else { 0.5 }
}

fn axis(slice: &Slice) -> ParallelAxis {
    let distribution = &slice.distribution;
    let values: Vec<f64> = match distribution {
        Distribution::Float { low, high, .. } => vec![*low, *high],
        Distribution::Int { low, high, .. } => vec![*low as f64, *high as f64],
        Distribution::Categorical { choices } => (0..choices.len()).map(|i| i as f64).collect(),
    };
    let label = |value: f64| match distribution.to_external(value) {
        Some(Value::Float(value)) => short(value),
        Some(value) => value.to_string(),
        None => String::new(),
    };
    let ticks = values.iter().map(|v| (share(distribution, *v), label(*v))).collect();
    ParallelAxis { name: slice.name.clone(), ticks }
}

/// A number in few characters.
fn short(value: f64) -> String {
    let text = match value.abs() {
        0.0 => "0".into(),
        size if (1e-3..1e5).contains(&size) => {
            let text = format!("{value:.4}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => format!("{value:.2e}").replace(".00e", "e"),
    };
    text.replace('-', "\u{2212}")
}
