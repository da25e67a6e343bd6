use taper_metrics::{Calibration, ProbabilityFigures};
use taper_plot::{Figure, Line, Panel, Picture, Scale, Style, colour};

/// Draws the reliability diagram: accuracy over confidence before and after calibration, in the
/// bins of the expected calibration error, and how many pictures are in each.
///
/// DeGroot & Fienberg, *The Comparison and Evaluation of Forecasters*, The Statistician 1983.
pub fn reliability(
    title: &str,
    before: &ProbabilityFigures,
    after: &ProbabilityFigures,
) -> Picture {
    let figures = |of: &ProbabilityFigures| of.calibration.expected_error;
    let series = |of: &Calibration, value: fn(&taper_metrics::CalibrationBin) -> f64| {
        let filled = of.bins.iter().filter(|bin| bin.weight > 0.0);
        filled.map(|bin| (bin.confidence, value(bin))).collect::<Vec<_>>()
    };
    let line = |label: &str, colour, of: &ProbabilityFigures, value| Line {
        dots: true,
        ..Line::new(label, colour, series(&of.calibration, value))
    };
    let accuracy = Panel {
        title: "Accuracy".into(),
        height: 300.0,
        range: Some((0.0, 1.0)),
        lines: vec![
            Line {
                style: Style::Dashed,
                width: 1.0,
                ..Line::new("as confident as accurate", colour::GREY, vec![(0.0, 0.0), (1.0, 1.0)])
            },
            line("raw", colour::ORANGE, before, |bin| bin.accuracy),
            line("calibrated", colour::BLUE, after, |bin| bin.accuracy),
        ],
        ..Panel::default()
    };
    let pictures = Panel {
        title: "Pictures".into(),
        height: 110.0,
        lines: vec![
            line("", colour::ORANGE, before, |bin| bin.weight),
            line("", colour::BLUE, after, |bin| bin.weight),
        ],
        ..Panel::default()
    };
    let figure = Figure {
        title: title.into(),
        subtitle: format!(
            "{} pictures  ·  expected calibration error {:.4} raw, {:.4} calibrated",
            before.n,
            figures(before),
            figures(after)
        ),
        x_label: "confidence: the probability of the most probable class".into(),
        x_scale: Scale::Linear,
        panels: vec![accuracy, pictures],
        ..Figure::default()
    };
    figure.draw()
}
