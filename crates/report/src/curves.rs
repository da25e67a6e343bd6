use taper_plot::{Figure, Line, Marker, Panel, Picture, Scale, Style, Vertical, colour};

use crate::{Error, Result};

/// The figures of one epoch; none for those that were not measured.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct EpochFigures {
    /// The epoch, counted from 0.
    pub epoch: u64,
    /// Mean training loss, in nats.
    pub loss: Option<f64>,
    /// Training accuracy, 0…1.
    pub accuracy: Option<f64>,
    /// Mean validation loss, in nats.
    pub val_loss: Option<f64>,
    /// Validation accuracy, 0…1.
    pub val_accuracy: Option<f64>,
    /// The learning rate at the epoch's end.
    pub learning_rate: Option<f64>,
}

/// Which weights a training kept; epochs are counted from 0.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Kept {
    /// None of an epoch's.
    #[default]
    None,
    /// Those of an epoch.
    Epoch(u64),
    /// Those at a share of the way from the first phase's to an epoch's of the second one, or to
    /// the mean of several epochs'.
    Between {
        /// The epochs, in any order.
        epochs: Vec<u64>,
        /// The share, above 0; 1 for the mean itself.
        share: f64,
    },
}

impl Kept {
    /// The epochs to be marked, and what they are called.
    fn marks(&self, phase_change: Option<u64>) -> (&[u64], String) {
        let numbered = |epoch: u64| match phase_change {
            Some(change) if epoch >= change => {
                format!("epoch {} ({} of fine-tuning)", epoch + 1, epoch + 1 - change)
            }
            _ => format!("epoch {}", epoch + 1),
        };
        let list = |epochs: &[u64]| {
            let mut epochs: Vec<u64> = epochs.iter().map(|epoch| epoch + 1).collect();
            epochs.sort_unstable();
            epochs.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
        };
        match self {
            Self::None => (&[], String::new()),
            Self::Epoch(epoch) => {
                (std::slice::from_ref(epoch), format!("best weights: {}", numbered(*epoch)))
            }
            Self::Between { epochs, share } => {
                let end = match &epochs[..] {
                    [one] => numbered(*one),
                    several => format!("the mean of epochs {}", list(several)),
                };
                let way = match *share >= 1.0 {
                    true => String::new(),
                    false => format!("{share:.1} of the way to "),
                };
                (epochs, format!("kept: {way}{end}"))
            }
        }
    }
}

/// How a training went.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curves {
    /// The headline, e.g. the run's name.
    pub title: String,
    /// A line below the headline, e.g. model and data; may be empty.
    pub subtitle: String,
    /// The epochs in order.
    pub epochs: Vec<EpochFigures>,
    /// Whose weights were kept.
    pub kept: Kept,
    /// The last epoch, if training ended early, counted from 0.
    pub stopped_epoch: Option<u64>,
    /// The first epoch of a second phase, counted from 0, e.g. of fine-tuning.
    pub phase_change: Option<u64>,
}

impl Curves {
    /// Reads the epochs of a `history.csv`: columns `epoch`, `loss`, `accuracy`, `val_loss`,
    /// `val_accuracy`, `learning_rate` in any order; `epoch` is required, other columns are
    /// ignored, `NA` and empty fields are none.
    ///
    /// # Errors
    /// [`Error::History`] names the first line that cannot be read.
    pub fn epochs_from_csv(text: &str) -> Result<Vec<EpochFigures>> {
        let fail = |line, problem| Err(Error::History { line, problem });
        let mut lines = text.lines().enumerate();
        let columns: Vec<&str> = match lines.next() {
            Some((_, header)) if header.split(',').any(|c| c == "epoch") => {
                header.split(',').collect()
            }
            _ => return fail(1, "there is no column 'epoch'".into()),
        };
        let mut epochs = Vec::new();
        for (index, line) in lines {
            let fields: Vec<&str> = line.split(',').collect();
            if fields.len() != columns.len() {
                let problem = format!("{} fields for {} columns", fields.len(), columns.len());
                return fail(index + 1, problem);
            }
            let mut figures = EpochFigures::default();
            for (column, field) in columns.iter().zip(fields) {
                let slot = match *column {
                    "epoch" => match field.parse() {
                        Ok(epoch) => {
                            figures.epoch = epoch;
                            continue;
                        }
                        Err(_) => return fail(index + 1, format!("'{field}' is not an epoch")),
                    },
                    "loss" => &mut figures.loss,
                    "accuracy" => &mut figures.accuracy,
                    "val_loss" => &mut figures.val_loss,
                    "val_accuracy" => &mut figures.val_accuracy,
                    "learning_rate" => &mut figures.learning_rate,
                    _ => continue,
                };
                *slot = match field {
                    "" | "NA" => None,
                    number => match number.parse() {
                        Ok(number) => Some(number),
                        Err(_) => return fail(index + 1, format!("'{number}' is not a number")),
                    },
                };
            }
            epochs.push(figures);
        }
        Ok(epochs)
    }

    /// Draws loss, accuracy and learning rate over the epochs, as far as they were measured, with
    /// what was kept and the last epoch marked. The picture counts epochs from 1, as people do.
    pub fn draw(&self) -> Picture {
        let series = |of: fn(&EpochFigures) -> Option<f64>| -> Vec<(f64, f64)> {
            self.epochs.iter().filter_map(|e| Some((counted(e.epoch), of(e)?))).collect()
        };
        let few = self.epochs.len() <= 60;
        let line = |label: &str, colour, points: Vec<(f64, f64)>| Line {
            dots: few,
            ..Line::new(label, colour, points)
        };
        let mut panels = Vec::new();
        let mut pair = |title: &str, height, train: Vec<(f64, f64)>, val: Vec<(f64, f64)>| {
            if train.is_empty() && val.is_empty() {
                return;
            }
            let best = match self.kept {
                Kept::Epoch(epoch) => Some(counted(epoch)),
                // The figures of the epoch are not those of what was kept.
                _ => None,
            };
            let best = val.iter().find(|p| Some(p.0) == best && p.1.is_finite());
            let markers = best.map(|&at| Marker {
                label: format!("best: {:.4}", at.1),
                at,
                colour: colour::GREEN,
            });
            let lines = [("training", colour::BLUE, train), ("validation", colour::ORANGE, val)];
            panels.push(Panel {
                title: title.into(),
                height,
                lines: lines
                    .into_iter()
                    .filter(|l| !l.2.is_empty())
                    .map(|(label, colour, points)| line(label, colour, points))
                    .collect(),
                markers: markers.into_iter().collect(),
                ..Panel::default()
            });
        };
        pair("Loss", 230.0, series(|e| e.loss), series(|e| e.val_loss));
        pair("Accuracy", 230.0, series(|e| e.accuracy), series(|e| e.val_accuracy));
        let rates = series(|e| e.learning_rate);
        if !rates.is_empty() {
            let positive = rates.iter().map(|p| p.1).filter(|r| *r > 0.0);
            let (low, high) =
                positive.fold((f64::INFINITY, 0.0f64), |(l, h), r| (l.min(r), h.max(r)));
            panels.push(Panel {
                title: "Learning rate".into(),
                height: 90.0,
                // On a linear axis, a rate that falls to a tenth would look like zero.
                scale: if high >= 5.0 * low { Scale::Log } else { Scale::Linear },
                lines: vec![line("", colour::PURPLE, rates)],
                ..Panel::default()
            });
        }
        let mut verticals = Vec::new();
        if let Some(change) = self.phase_change {
            verticals.push(Vertical {
                label: "fine-tuning begins".into(),
                x: counted(change) - 0.5,
                colour: colour::PURPLE,
                style: Style::Solid,
            });
        }
        let (marked, mut label) = self.kept.marks(self.phase_change);
        for &epoch in marked {
            verticals.push(Vertical {
                label: std::mem::take(&mut label),
                x: counted(epoch),
                colour: colour::GREEN,
                style: Style::Dashed,
            });
        }
        if let Some(stopped) = self.stopped_epoch {
            verticals.push(Vertical {
                label: format!("stopped after epoch {}", counted(stopped)),
                x: counted(stopped),
                colour: colour::RED,
                style: Style::DashDotted,
            });
        }
        let figure = Figure {
            title: self.title.clone(),
            subtitle: self.subtitle.clone(),
            x_label: "epoch".into(),
            x_scale: Scale::Whole,
            panels,
            verticals,
            ..Figure::default()
        };
        figure.draw()
    }
}

/// An epoch as people count, from 1.
fn counted(epoch: u64) -> f64 {
    epoch as f64 + 1.0
}
