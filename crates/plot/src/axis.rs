/// How values are laid out along an axis.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scale {
    /// Equal differences are equally far apart.
    #[default]
    Linear,
    /// As [`Scale::Linear`], with ticks at whole numbers only: epochs.
    Whole,
    /// Equal ratios are equally far apart; only values above 0 are shown.
    Log,
}

/// A range of values laid out over a range of pixels.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// Ensures `low < high`, whatever the input.
    pub(crate) fn new(scale: Scale, (low, high): (f64, f64), (from, to): (f64, f64)) -> Self {
        let (mut low, mut high) =
            if scale == Scale::Log { (low.log10(), high.log10()) } else { (low, high) };
        // A single value, or a range too small relative to its values, gets a range of its own.
        if high - low <= 1e-9 * low.abs().max(high.abs()) || high <= low {
            let around = if scale == Scale::Linear { 0.1 * low.abs().max(1e-3) } else { 0.5 };
            (low, high) = (low - around, high + around);
        }
        Self { scale, low, high, from, to }
    }

    /// The position of a value in pixels; none if it cannot be shown.
    pub(crate) fn at(&self, value: f64) -> Option<f64> {
        let value = if self.scale == Scale::Log { value.log10() } else { value };
        let share = (value - self.low) / (self.high - self.low);
        // Values far outside are not shown, as renderers do not handle huge coordinates well.
        (share.is_finite() && share.abs() < 1e3)
            .then_some(self.from + share * (self.to - self.from))
    }

    /// Ticks with their labels, and unlabelled finer ones.
    pub(crate) fn ticks(&self, about: usize) -> (Vec<(f64, String)>, Vec<f64>) {
        match self.scale {
            Scale::Log if self.high - self.low >= 1.0 => self.decades(about),
            Scale::Log => {
                let linear = Axis {
                    scale: Scale::Linear,
                    low: 10f64.powf(self.low),
                    high: 10f64.powf(self.high),
                    ..*self
                };
                linear.ticks(about)
            }
            Scale::Linear | Scale::Whole => {
                let step = nice_step((self.high - self.low) / about.max(1) as f64);
                let step = if self.scale == Scale::Whole { step.max(1.0).round() } else { step };
                // Counting in whole steps keeps 0.1 + 0.1 + 0.1 from becoming a label.
                let first = (self.low / step - 1e-9).ceil() as i64;
                let last = (self.high / step + 1e-9).floor() as i64;
                let decimals = (-step.log10().floor() + f64::from(!is_power(step))).max(0.0);
                let decimals =
                    if is_quarter(step) { decimals } else { decimals - f64::from(!is_power(step)) };
                let decimals = decimals.clamp(0.0, 12.0) as usize;
                let large = self.high.abs().max(self.low.abs());
                let ticks = (first..=last)
                    .map(|i| {
                        let value = i as f64 * step;
                        let label = if large >= 1e6 || (step < 1e-4 && self.scale != Scale::Whole) {
                            plain_exponent(value)
                        } else {
                            format!("{value:.decimals$}")
                        };
                        (value, label.replace('-', "\u{2212}"))
                    })
                    .collect();
                (ticks, Vec::new())
            }
        }
    }

    fn decades(&self, about: usize) -> (Vec<(f64, String)>, Vec<f64>) {
        let first = (self.low - 1e-9).ceil() as i32;
        let last = (self.high + 1e-9).floor() as i32;
        let every = ((last - first + 1) as usize).div_ceil(about.max(1)).max(1) as i32;
        // Within two decades, powers of ten alone would be too few labels.
        let mantissas: &[f64] = if last - first < 2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let ticks = (first - 1..=last)
            .filter(|e| (e - first) % every == 0)
            .flat_map(|e| mantissas.iter().map(move |m| (m * 10f64.powi(e), m, e)))
            .filter(|(v, ..)| (self.low - 1e-9..=self.high + 1e-9).contains(&v.log10()))
            .map(|(v, m, e)| (v, decade(*m, e)))
            .collect();
        let fine = (first - 1..=last)
            .flat_map(|e| (2..10).map(move |m| f64::from(m) * 10f64.powi(e)))
            .filter(|v| (self.low..=self.high).contains(&v.log10()))
            .collect();
        (ticks, fine)
    }
}

fn decade(mantissa: f64, exponent: i32) -> String {
    match exponent {
        -3..=0 => format!("{:.*}", -exponent as usize, mantissa * 10f64.powi(exponent)),
        1..=3 => format!("{}", mantissa * 10f64.powi(exponent)),
        _ => format!("{mantissa}e{exponent}").replace('-', "\u{2212}"),
    }
}

/// The next larger step of the form 1, 2, 2.5 or 5 times a power of ten.
fn nice_step(rough: f64) -> f64 {
    let magnitude = 10f64.powf(rough.log10().floor());
    let mantissa = rough / magnitude;
    let nice = [1.0, 2.0, 2.5, 5.0].into_iter().find(|n| mantissa <= n + 1e-9).unwrap_or(10.0);
    nice * magnitude
}

fn is_power(step: f64) -> bool {
    (step.log10() - step.log10().round()).abs() < 1e-9
}

fn is_quarter(step: f64) -> bool {
    let mantissa = step / 10f64.powf((step.log10() + 1e-9).floor());
    (mantissa - 2.5).abs() < 1e-6
}

/// `2.5e-7` rather than `0.00000025`, without digits that rounding left over.
fn plain_exponent(value: f64) -> String {
    let text = format!("{value:.2e}");
    match text.split_once('e') {
        Some((digits, exponent)) if digits.contains('.') => {
            let digits = digits.trim_end_matches('0').trim_end_matches('.');
            if digits == "0" || digits == "-0" {
                "0".into()
            } else {
                format!("{digits}e{exponent}")
            }
        }
        _ => text,
    }
}

/// The smallest and largest finite value that the scale can show, if there is one.
pub(crate) fn range(scale: Scale, values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|v| v.is_finite() && (scale != Scale::Log || *v > 0.0)).fold(None, |range, v| {
        Some(range.map_or((v, v), |(l, h): (f64, f64)| (l.min(v), h.max(v))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, low: f64, high: f64, about: usize) -> Vec<String> {
        let axis = Axis::new(scale, (low, high), (0.0, 100.0));
        axis.ticks(about).0.into_iter().map(|t| t.1).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(labels(Scale::Linear, 0.0, 1.0, 5), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(Scale::Linear, 0.31, 0.97, 3), ["0.50", "0.75"]);
        assert_eq!(labels(Scale::Linear, -1.0, 1.0, 4), ["−1.0", "−0.5", "0.0", "0.5", "1.0"]);
        assert_eq!(labels(Scale::Linear, 0.0, 900.0, 4), ["0", "250", "500", "750"]);
        assert_eq!(labels(Scale::Linear, 1e-5, 3e-5, 2), ["1e−5", "2e−5", "3e−5"]);
        assert_eq!(labels(Scale::Linear, 0.0, 0.03, 3), ["0.00", "0.01", "0.02", "0.03"]);
        assert_eq!(labels(Scale::Whole, 0.0, 3.0, 10), ["0", "1", "2", "3"]);
        assert_eq!(
            labels(Scale::Whole, 0.0, 19.0, 10),
            ["0", "2", "4", "6", "8", "10", "12", "14", "16", "18"]
        );
        assert_eq!(
            labels(Scale::Log, 1e-6, 1.0, 8),
            ["1e−6", "1e−5", "1e−4", "0.001", "0.01", "0.1", "1"]
        );
    }

    #[test]
    fn ends_of_the_range_meet_the_pixels_and_one_value_is_in_the_middle() {
        let axis = Axis::new(Scale::Log, (1e-6, 1.0), (10.0, 70.0));
        assert!((axis.at(1e-3).unwrap() - 40.0).abs() < 1e-9);
        assert_eq!(axis.at(0.0), None);
        assert_eq!(axis.at(f64::NAN), None);
        for (scale, value) in
            [(Scale::Linear, 0.0), (Scale::Linear, 5e8), (Scale::Whole, 3.0), (Scale::Log, 1e-4)]
        {
            let axis = Axis::new(scale, (value, value), (0.0, 10.0));
            assert!((axis.at(value).unwrap() - 5.0).abs() < 1e-6, "{value}");
        }
    }
}
