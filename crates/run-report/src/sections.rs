//! Parts that reports have in common.

use std::collections::HashMap;

use taper_core::ClassNames;
use taper_data::Dataset;
use taper_metrics::Evaluation;
use taper_plot::{Figure, Line, Panel, Scale, colour, isolated};
use taper_report::page::{
    Block, Cell, Chart, Column, ColumnKind, Confusion, ConfusionCell, Gallery, Section, Shot,
    Table, Verdict,
};
use taper_run::Judged;

use crate::{
    album::Album,
    answers::{Told, coverage, mistakes, name},
    words::{percent, plural, points, wilson},
};

/// Worst mistakes that are shown.
pub(crate) const WORST: usize = 24;
/// Pictures behind a wrong cell of the confusion matrix.
const OF_CELL: usize = 6;
/// Wrong cells with pictures.
const CELLS: usize = 40;
/// Examples of each class that the model recognised, at most.
const EXAMPLES: usize = 3;
/// Classes with examples.
const WITH_EXAMPLES: usize = 24;

/// Pictures whose class is known, and what a model said of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Assessed<'a> {
    pub(crate) dataset: &'a Dataset,
    pub(crate) evaluation: &'a Evaluation,
    pub(crate) judged: Option<&'a Judged>,
    pub(crate) told: &'a [Told],
    /// What the pictures are, e.g. `test pictures`.
    pub(crate) pictures: &'a str,
}

impl<'a> Assessed<'a> {
    fn classes(&self) -> &'a ClassNames {
        self.dataset.classes()
    }

    /// The pictures that the sections below show, the most important first.
    pub(crate) fn wanted(&self) -> Vec<usize> {
        let wrong = mistakes(self.told);
        let worst = wrong.iter().take(WORST).map(|own| own.sample);
        let cells = self.cells();
        let behind = cells.iter().flat_map(|(_, _, told)| told.iter().map(|own| own.sample));
        let examples = self.examples();
        worst.chain(examples.iter().map(|own| own.sample)).chain(behind).collect()
    }

    /// Wrong cells with some of their pictures, those with most pictures first.
    fn cells(&self) -> Vec<(u32, u32, Vec<Told>)> {
        let mut cells: HashMap<(u32, u32), (usize, Vec<Told>)> = HashMap::new();
        for own in mistakes(self.told) {
            let Some(predicted) = own.predicted else { continue };
            let (count, told) = cells.entry((own.label, predicted)).or_default();
            *count += 1;
            if told.len() < OF_CELL {
                told.push(own);
            }
        }
        let mut cells: Vec<_> = cells.into_iter().collect();
        cells.sort_by_key(|(cell, (count, _))| (usize::MAX - count, *cell));
        cells.truncate(CELLS);
        cells.into_iter().map(|((truth, said), (_, told))| (truth, said, told)).collect()
    }

    /// Pictures that were recognised, evenly spread over each class; of many classes, one each of
    /// some that are evenly spread.
    fn examples(&self) -> Vec<Told> {
        let classes = self.classes().len();
        let each = (WITH_EXAMPLES / classes.max(1)).clamp(1, EXAMPLES);
        let mut examples = Vec::new();
        for class in (0..classes).step_by(classes.div_ceil(WITH_EXAMPLES).max(1)) {
            let own: Vec<&Told> = self
                .told
                .iter()
                .filter(|own| own.label == class as u32 && own.is_right())
                .collect();
            let every = own.len().div_ceil(each).max(1);
            examples.extend(own.into_iter().step_by(every).copied());
        }
        examples
    }

    fn shot(&self, album: &Album<'_>, own: &Told) -> Shot {
        let classes = self.classes();
        let label = percent(own.of_label);
        Shot {
            picture: album.place(own.sample),
            name: self.dataset.samples()[own.sample].id.clone(),
            truth: Some(name(classes, own.label).into()),
            predicted: own.predicted.map(|class| name(classes, class).into()),
            probability: own.predicted.map(|_| own.probability),
            note: match own.predicted {
                None => "the model gives no numbers".into(),
                Some(_) if own.is_right() => String::new(),
                Some(_) => format!("its own class has {label}"),
            },
        }
    }

    /// The result, with its interval.
    pub(crate) fn verdict(&self, text: String, facts: Vec<(String, String)>) -> Block {
        let Evaluation { accuracy, n, .. } = *self.evaluation;
        Block::Verdict(Verdict {
            figure: percent(accuracy),
            label: format!("accuracy on {n} {}", self.pictures),
            share: accuracy,
            interval: Some(wilson(accuracy, n)),
            text,
            facts,
        })
    }

    /// The classes as a table, with the number of training pictures if that is known, and examples.
    pub(crate) fn class_section(&self, album: &Album<'_>, trained: Option<&[usize]>) -> Section {
        let number = |name: &str| Column { name: name.into(), kind: ColumnKind::Number };
        let share = |name: &str| Column { name: name.into(), kind: ColumnKind::Share };
        let mut columns = vec![Column { name: "class".into(), kind: ColumnKind::Text }];
        columns.extend(trained.map(|_| number("trained on")));
        columns.extend([number("pictures"), share("recall"), share("precision"), number("F1")]);
        columns.push(Column { name: "most often taken for".into(), kind: ColumnKind::Text });
        let rows = self.evaluation.per_class.iter().enumerate().map(|(class, own)| {
            let mut row = vec![Cell::Text(own.label.clone())];
            row.extend(trained.map(|counts| count(counts.get(class).copied().unwrap_or(0))));
            row.push(count(own.support as usize));
            // Without pictures there is nothing to recognise.
            let known =
                |share: f64, base: f64| if base > 0.0 { of_share(share) } else { Cell::None };
            let taken: f64 = self.evaluation.confusion.iter().map(|row| row[class]).sum();
            row.push(known(own.recall, own.support));
            row.push(known(own.precision, taken));
            row.push(Cell::Number { value: own.f1, text: format!("{:.3}", own.f1) });
            let confused = self.evaluation.confusion[class].iter().enumerate();
            let most = confused.filter(|(other, _)| *other != class);
            let most = most.max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
            row.push(match most.filter(|(_, times)| **times > 0.0) {
                Some((other, times)) => {
                    let other = &self.evaluation.per_class[other].label;
                    Cell::Text(format!("{} ({times})", isolated(other)))
                }
                None => Cell::None,
            });
            row
        });
        let table = Table {
            caption: format!("Each class, on {} {}", self.evaluation.n, self.pictures),
            columns,
            rows: rows.collect(),
            notes: "Recall: of the pictures of the class, the share that was recognised. Precision: of the pictures taken for the class, the share that are of it. F1: the harmonic mean of both.".into(),
        };
        let examples = self.examples();
        let mut blocks = vec![Block::Table(table)];
        let shots: Vec<Shot> = examples
            .iter()
            .filter(|own| album.place(own.sample).is_some())
            .map(|own| self.shot(album, own))
            .collect();
        if !shots.is_empty() {
            let caption = "Some that were recognised".into();
            blocks.push(Block::Gallery(Gallery { caption, shots, filter: true }));
        }
        section("classes", "Classes", "", blocks)
    }

    /// What was taken for what, and the worst mistakes.
    pub(crate) fn mistake_sections(&self, album: &Album<'_>) -> Vec<Section> {
        let whole = |value: &f64| value.round() as u64;
        let cells = self.cells();
        let cells = cells.iter().map(|(truth, predicted, told)| ConfusionCell {
            truth: *truth as usize,
            predicted: *predicted as usize,
            // Where there is no room for any picture, their names are enough.
            shots: told
                .iter()
                .filter(|own| album.place(own.sample).is_some())
                .map(|own| self.shot(album, own))
                .collect(),
        });
        let confusion = Confusion {
            labels: self.classes().iter().map(str::to_owned).collect(),
            counts: self
                .evaluation
                .confusion
                .iter()
                .map(|r| r.iter().map(whole).collect())
                .collect(),
            cells: cells.collect(),
        };
        let wrong = mistakes(self.told);
        let mut sections = vec![section(
            "confusion",
            "What is taken for what",
            "",
            vec![Block::Confusion(confusion)],
        )];
        if wrong.is_empty() {
            return sections;
        }
        let shots: Vec<Shot> = wrong.iter().take(WORST).map(|own| self.shot(album, own)).collect();
        let caption = match wrong.len() {
            n if n > WORST => format!("{WORST} of {n} mistakes, the surest ones first"),
            n => format!("{}, the surest first", plural(n, "mistake", "mistakes")),
        };
        sections.push(section(
            "mistakes",
            "Worst mistakes",
            "A mistake that the model was sure of is often a wrong label, a picture of two things, or something that it has never seen.",
            vec![Block::Gallery(Gallery { caption, shots, filter: true })],
        ));
        sections
    }

    /// How much its probabilities mean, and what refusing to answer brings.
    pub(crate) fn trust_sections(&self, title: &str) -> Vec<Section> {
        let mut sections = Vec::new();
        if let Some(judged) = self.judged {
            let (before, after) = (&judged.before, &judged.after);
            let svg = taper_report::reliability(title, before, after).svg().to_owned();
            let error = points;
            let (raw, own) = (before.calibration.expected_error, after.calibration.expected_error);
            let mut facts = vec![
                (
                    "mean error of a probability".into(),
                    format!("{} (raw {})", error(own), error(raw)),
                ),
                ("Brier score".into(), format!("{:.4} (raw {:.4})", after.brier, before.brier)),
            ];
            if let Some(sets) = &judged.sets {
                facts.push((
                    format!("sets of classes for {}", percent(sets.asked)),
                    format!(
                        "contain the class in {}; {:.2} classes on average, and none where no class is probable enough ({})",
                        percent(sets.figures.coverage),
                        sets.figures.mean_size,
                        plural(sets.figures.empty as usize, "picture", "pictures"),
                    ),
                ));
            }
            if let Some(unfamiliar) = &judged.unfamiliar {
                let share = percent(unfamiliar.share);
                facts.push((
                    "unlike the training pictures".into(),
                    format!("{} ({share})", unfamiliar.pictures),
                ));
            }
            let chart = Chart {
                svg,
                alt: format!(
                    "Accuracy against confidence: the mean gap is {} before and {} after calibration.",
                    error(raw),
                    error(own)
                ),
                caption: "On the dashed line, 90 % means right in nine of ten.".into(),
            };
            sections.push(section(
                "calibration",
                "What its probabilities mean",
                "",
                vec![Block::Facts(facts), Block::Chart(chart)],
            ));
        }
        let answered = coverage(self.told);
        if answered.len() > 1 {
            sections.push(self.refusal(title, answered));
        }
        sections
    }

    fn refusal(&self, title: &str, points: Vec<(f64, f64)>) -> Section {
        let at = |share: f64| points.iter().rfind(|(answered, _)| *answered <= share);
        let words = [0.9, 0.75, 0.5].iter().filter_map(|share| at(*share));
        let words: Vec<String> = words
            .map(|(answered, right)| {
                format!("{} on the surest {}", percent(*right), percent(*answered))
            })
            .collect();
        let text = format!(
            "Accuracy is {} on all, {}.",
            percent(self.evaluation.accuracy),
            words.join(", ")
        );
        let line = Line::new("", colour::BLUE, points);
        let figure = Figure {
            title: title.into(),
            x_label: "share of the pictures that are answered, the surest first".into(),
            x_scale: Scale::Linear,
            panels: vec![Panel {
                title: "Accuracy".into(),
                height: 220.0,
                lines: vec![line],
                ..Panel::default()
            }],
            ..Figure::default()
        };
        let chart = Chart {
            svg: figure.draw().svg().to_owned(),
            alt: text.clone(),
            caption:
                "A person looks at the rest: taper predict --min-probability P sorts them out."
                    .into(),
        };
        section(
            "refusal",
            "If it may refuse to answer",
            "",
            vec![Block::Text(text), Block::Chart(chart)],
        )
    }
}

pub(crate) fn section(id: &str, title: &str, lead: &str, blocks: Vec<Block>) -> Section {
    Section { id: id.into(), title: title.into(), lead: lead.into(), blocks }
}

/// A cell with a number of things.
pub(crate) fn count(n: usize) -> Cell {
    Cell::Number { value: n as f64, text: n.to_string() }
}

/// A cell with a share.
pub(crate) fn of_share(share: f64) -> Cell {
    Cell::Number { value: share, text: percent(share) }
}

/// A cell with a figure of four decimals.
pub(crate) fn figure(value: f64) -> Cell {
    Cell::Number { value, text: format!("{value:.4}") }
}

/// Columns of a table.
pub(crate) fn columns(of: &[(&str, ColumnKind)]) -> Vec<Column> {
    of.iter().map(|(name, kind)| Column { name: (*name).into(), kind: *kind }).collect()
}

/// The last line of a page.
pub(crate) fn footer() -> String {
    format!("Made by Taper {}.", env!("CARGO_PKG_VERSION"))
}
