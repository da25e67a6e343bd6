use taper_plot::{Figure, Line, Marker, Panel, Picture, Scale, Style, Vertical, colour};

use crate::{Method, RangeTestResult};

impl RangeTestResult {
    /// Draws the loss over the rate, raw and smoothed, with a dash-dotted red line at the chosen
    /// rate and a dot for each of the other suggestions.
    pub fn plot(&self, title: &str) -> Picture {
        let mut lines = Vec::new();
        let usable = |i: usize| &self.curves[i].smoothed[..self.curves[i].usable()];
        let mut low = f64::INFINITY;
        let mut high = f64::NEG_INFINITY;
        for (i, curve) in self.curves.iter().enumerate() {
            let name = |what: &str| if i == 0 { what.to_owned() } else { String::new() };
            let points = |losses: &[f64]| -> Vec<(f64, f64)> {
                curve.rates.iter().copied().zip(losses.iter().copied()).collect()
            };
            lines.push(Line {
                width: 1.0,
                ..Line::new(name("loss of the step"), "#c3ccd5", points(&curve.losses))
            });
            lines.push(Line {
                width: 2.2,
                ..Line::new(name("smoothed"), colour::BLUE, points(usable(i)))
            });
            // Diverging values would flatten everything else.
            let level = self.level(usable(i));
            for &loss in usable(i).iter().chain(curve.losses.iter().filter(|l| **l <= 1.25 * level))
            {
                low = low.min(loss);
                high = high.max(loss.min(1.6 * level));
            }
        }
        // Smoothed curves above raw ones, whatever the number of seeds.
        lines.sort_by(|a, b| a.width.total_cmp(&b.width));

        let colours = [colour::GREEN, colour::PURPLE, colour::ORANGE, colour::TEAL];
        let others = Method::ALL.into_iter().filter(|m| *m != self.method);
        let markers = others
            .zip(colours)
            .filter_map(|(method, colour)| {
                let rate = self.suggestions.get(method)?;
                let at = (rate, self.loss_at(rate)?);
                Some(Marker { label: format!("{method} {}", short(rate)), at, colour })
            })
            .collect();
        let seeds = match self.spread {
            s if s.seeds < 2 => String::new(),
            s => format!(
                "  ·  {} of {} seeds, from {} to {}",
                s.found,
                s.seeds,
                short(s.low),
                short(s.high)
            ),
        };
        let diverged = if self.curves.iter().any(|c| c.diverged) {
            "  ·  ended where the loss diverged"
        } else {
            ""
        };
        let figure = Figure {
            title: title.into(),
            subtitle: format!("range test, {} steps{diverged}{seeds}", self.points),
            x_label: "learning rate".into(),
            x_scale: Scale::Log,
            panels: vec![Panel {
                title: "Loss".into(),
                height: 340.0,
                scale: Scale::Linear,
                range: (high > low)
                    .then_some((low - 0.06 * (high - low), high + 0.06 * (high - low))),
                lines,
                markers,
            }],
            verticals: vec![Vertical {
                label: format!("chosen ({}): {}", self.method, short(self.chosen)),
                x: self.chosen,
                colour: colour::RED,
                style: Style::DashDotted,
            }],
            ..Figure::default()
        };
        figure.draw()
    }

    /// How high the part of a smoothed curve is that matters: where it begins, lies for half of its
    /// rates, and is read.
    fn level(&self, smoothed: &[f64]) -> f64 {
        let mut sorted = smoothed.to_vec();
        sorted.sort_by(f64::total_cmp);
        let typical = sorted.get(sorted.len() / 2).copied();
        let read = Method::ALL
            .into_iter()
            .filter_map(|method| self.loss_at(self.suggestions.get(method)?));
        let losses = smoothed.first().copied().into_iter().chain(typical).chain(read);
        losses.map(f64::abs).fold(1e-9, f64::max)
    }

    /// The mean smoothed loss at a rate, interpolated on the logarithmic scale.
    fn loss_at(&self, rate: f64) -> Option<f64> {
        let mut losses = Vec::new();
        for curve in &self.curves {
            let above = curve.rates.partition_point(|r| *r < rate);
            if above >= curve.usable() {
                continue;
            }
            losses.push(if above == 0 {
                curve.smoothed[0]
            } else {
                let (a, b) = (curve.rates[above - 1], curve.rates[above]);
                let share = (rate / a).ln() / (b / a).ln();
                curve.smoothed[above - 1] * (1.0 - share) + curve.smoothed[above] * share
            });
        }
        (!losses.is_empty()).then(|| losses.iter().sum::<f64>() / losses.len() as f64)
    }
}

/// Three significant digits.
fn short(rate: f64) -> String {
    if (1e-3..1e3).contains(&rate) {
        let decimals = (2.0 - rate.log10().floor()).max(0.0) as usize;
        format!("{rate:.decimals$}")
    } else {
        format!("{rate:.2e}").replace('-', "\u{2212}")
    }
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn rates_have_three_digits() {
        for (rate, text) in
            [(2.333, "2.33"), (0.0966, "0.0966"), (16.42, "16.4"), (1.234e-5, "1.23e\u{2212}5")]
        {
            assert_eq!(short(rate), text);
        }
    }
}
