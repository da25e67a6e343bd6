//! What a study shows: the course of its best value, tables, and the data of charts.

use taper_core::Direction;

use crate::{Distribution, History, Trial, TrialState};

/// A complete trial in the course of a study.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// The trial's number.
    pub number: usize,
    /// Its value.
    pub value: f64,
    /// The best value of the trials up to it.
    pub best: f64,
}

/// A parameter's values over complete trials.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// The parameter.
    pub name: String,
    /// What the values were drawn from; of several distributions, the last.
    pub distribution: Distribution,
    /// Number of the trial, the parameter's internal value, and the objective's.
    pub points: Vec<(usize, f64, f64)>,
}

/// A text for each trial and column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The names of the columns: `trial`, `state`, `value`, each parameter, `steps` (the last one
    /// with an intermediate value), `seconds`.
    pub header: Vec<String>,
    /// A row for each trial; what it lacks is empty.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// As a CSV file (RFC 4180, with `\n`), the names in the first line.
    pub fn csv(&self) -> String {
        let field = |text: &String| match text.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text.clone(),
        };
        let line = |row: &Vec<String>| row.iter().map(field).collect::<Vec<_>>().join(",") + "\n";
        std::iter::once(&self.header).chain(&self.rows).map(line).collect()
    }
}

impl History<'_> {
    fn complete(&self) -> impl Iterator<Item = (&Trial, f64)> {
        let value = |trial: &Trial| trial.value().filter(|value| value.is_finite());
        let complete = self.trials.iter().filter(|trial| trial.state == TrialState::Complete);
        complete.filter_map(move |trial| Some((trial, value(trial)?)))
    }

    /// The course of the best value over complete trials with finite values.
    pub fn progress(&self) -> Vec<Progress> {
        let mut best: Option<f64> = None;
        self.complete()
            .map(|(trial, value)| {
                let so_far = best.map_or(value, |best| match self.direction {
                    Direction::Min => best.min(value),
                    Direction::Max => best.max(value),
                });
                best = Some(so_far);
                Progress { number: trial.number, value, best: so_far }
            })
            .collect()
    }

    /// The names of all parameters, sorted.
    pub fn parameters(&self) -> Vec<&str> {
        let names = self.trials.iter().flat_map(|trial| trial.parameters.keys());
        let mut names: Vec<&str> = names.map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Each parameter's values over complete trials with finite values, sorted by name.
    pub fn slices(&self) -> Vec<Slice> {
        let slice = |name: &str| {
            let points = self.complete().filter_map(|(trial, value)| {
                Some((trial.number, trial.parameters.get(name)?.internal, value))
            });
            let last = self.trials.iter().rev().find_map(|trial| trial.parameters.get(name))?;
            let distribution = last.distribution.clone();
            Some(Slice { name: name.to_owned(), distribution, points: points.collect() })
        };
        self.parameters().into_iter().filter_map(slice).collect()
    }

    /// All trials as a table.
    pub fn table(&self) -> Table {
        let names = self.parameters();
        let header = ["trial", "state", "value"].into_iter().chain(names.iter().copied());
        let header = header.chain(["steps", "seconds"]).map(str::to_owned).collect();
        let text = |value: Option<String>| value.unwrap_or_default();
        let row = |trial: &Trial| {
            let mut row = vec![
                trial.number.to_string(),
                trial.state.to_string(),
                text(trial.value().map(|value| value.to_string())),
            ];
            row.extend(names.iter().map(|name| text(trial.get(name).map(|v| v.to_string()))));
            row.push(text(trial.last_step().map(|(step, _)| step.to_string())));
            row.push(text(trial.duration().map(|d| format!("{:.3}", d.as_secs_f64()))));
            row
        };
        Table { header, rows: self.trials.iter().map(row).collect() }
    }
}
