use std::{collections::BTreeMap, time::SystemTime};

use serde_json::{Map, Value};

use crate::{
    Distribution, TrialState,
    python::number,
    time,
    trial::{Parameter, Trial},
};

/// A study, as the journal has it.
#[derive(Debug, Clone)]
pub(crate) struct Study {
    pub(crate) name: String,
    /// 1 for smaller, 2 for larger values.
    pub(crate) directions: Vec<u64>,
    pub(crate) trials: Vec<Trial>,
    pub(crate) user_attributes: Map<String, Value>,
}

/// What all lines of a journal amount to: `JournalStorageReplayResult`.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// By number; numbers of deleted studies are not used again.
    pub(crate) studies: BTreeMap<u64, Study>,
    next_study: u64,
    /// Study and number of each trial of the journal.
    trials: Vec<(u64, usize)>,
}

type Applied<T> = Result<T, String>;

impl Replay {
    /// The study of this name.
    pub(crate) fn find(&self, name: &str) -> Option<u64> {
        self.studies.iter().find(|(_, study)| study.name == name).map(|(id, _)| *id)
    }

    /// The number that the next trial of the journal will have.
    pub(crate) fn next_trial(&self) -> u64 {
        self.trials.len() as u64
    }

    /// Applies a line. Operations on what does not exist, or cannot change any more, have no
    /// effect, as in Optuna for lines of other processes: Taper looks before it writes.
    ///
    /// # Errors
    /// What is wrong with the line.
    pub(crate) fn apply(&mut self, line: &Value) -> Applied<()> {
        let code = line["op_code"].as_u64().ok_or("has no op_code")?;
        match code {
            0 => self.create_study(line),
            1 => {
                self.studies.remove(&integer(line, "study_id")?);
                Ok(())
            }
            2 | 3 => {
                let study = self.studies.get_mut(&integer(line, "study_id")?);
                if let Some(study) = study.filter(|_| code == 2) {
                    study.user_attributes.extend(object(line, "user_attr")?);
                }
                Ok(())
            }
            4 => self.create_trial(line),
            5 => self.set_parameter(line),
            6 => self.set_state(line),
            7 => {
                let step = line["step"].as_i64().ok_or("has no step")?;
                let value = number(&line["intermediate_value"]).ok_or("has no value")?;
                if let Some(trial) = self.open_trial(line)? {
                    trial.steps.insert(step, value);
                }
                Ok(())
            }
            8 => {
                let attribute = object(line, "user_attr")?;
                if let Some(trial) = self.open_trial(line)? {
                    trial.user_attributes.extend(attribute);
                }
                Ok(())
            }
            9 => {
                let attribute = object(line, "system_attr")?;
                if let Some(trial) = self.open_trial(line)? {
                    trial.system_attributes.extend(attribute);
                }
                Ok(())
            }
            // Another implementation's, which Optuna passes over, too.
            10 => Ok(()),
            _ => Err(format!("has the unknown op_code {code}")),
        }
    }

    fn create_study(&mut self, line: &Value) -> Applied<()> {
        let name = line["study_name"].as_str().ok_or("has no study_name")?;
        let directions = line["directions"].as_array().ok_or("has no directions")?;
        if self.find(name).is_some() {
            return Ok(());
        }
        let study = Study {
            name: name.to_owned(),
            directions: directions.iter().filter_map(Value::as_u64).collect(),
            trials: Vec::new(),
            user_attributes: Map::new(),
        };
        self.studies.insert(self.next_study, study);
        self.next_study += 1;
        Ok(())
    }

    fn create_trial(&mut self, line: &Value) -> Applied<()> {
        let id = integer(line, "study_id")?;
        let Some(study) = self.studies.get_mut(&id) else { return Ok(()) };
        let state = match line.get("state") {
            Some(state) => read_state(state)?,
            None => TrialState::Running,
        };
        let mut parameters = BTreeMap::new();
        let distributions = object(line, "distributions")?;
        for (name, internal) in object(line, "params")? {
            let distribution = distributions.get(&name).and_then(Value::as_str);
            let distribution =
                Distribution::from_json(distribution.ok_or("lacks a distribution")?)?;
            parameters.insert(name, parameter(distribution, &internal)?);
        }
        let mut steps = BTreeMap::new();
        for (step, value) in object(line, "intermediate_values")? {
            let step = step.parse().map_err(|_| format!("has the step {step}"))?;
            steps.insert(step, number(&value).ok_or("has an intermediate value of no number")?);
        }
        let values = match values(&line["values"])? {
            Some(values) => Some(values),
            None => number(&line["value"]).map(|value| vec![value]),
        };
        let number = study.trials.len();
        study.trials.push(Trial {
            id: self.trials.len() as u64,
            values,
            parameters,
            steps,
            user_attributes: object(line, "user_attrs")?,
            system_attributes: object(line, "system_attrs")?,
            started: read_time(line, "datetime_start")?,
            completed: read_time(line, "datetime_complete")?,
            ..Trial::new(number, state)
        });
        self.trials.push((id, number));
        Ok(())
    }

    fn set_parameter(&mut self, line: &Value) -> Applied<()> {
        let name = line["param_name"].as_str().ok_or("has no param_name")?;
        let distribution = line["distribution"].as_str().ok_or("has no distribution")?;
        let distribution = Distribution::from_json(distribution)?;
        let new = parameter(distribution, &line["param_value_internal"])?;
        let id = integer(line, "trial_id")?;
        if let Some(study) = self.trials.get(id as usize).and_then(|(id, _)| self.studies.get(id)) {
            let earlier = study.trials.iter().find_map(|trial| trial.parameters.get(name));
            if earlier.is_some_and(|p| !p.distribution.is_compatible(&new.distribution)) {
                return Ok(());
            }
        }
        if let Some(trial) = self.open_trial(line)? {
            trial.parameters.insert(name.to_owned(), new);
        }
        Ok(())
    }

    fn set_state(&mut self, line: &Value) -> Applied<()> {
        let state = read_state(&line["state"])?;
        let values = values(&line["values"])?;
        let (started, completed) =
            (read_time(line, "datetime_start")?, read_time(line, "datetime_complete")?);
        let Some(trial) = self.open_trial(line)? else { return Ok(()) };
        if state == TrialState::Running {
            // Another process was faster.
            if trial.state == TrialState::Running {
                return Ok(());
            }
            trial.started = started;
        }
        if state.is_finished() {
            trial.completed = completed;
        }
        trial.state = state;
        if values.is_some() {
            trial.values = values;
        }
        Ok(())
    }

    /// The trial of a line, unless it is finished or its study was deleted.
    fn open_trial(&mut self, line: &Value) -> Applied<Option<&mut Trial>> {
        let id = integer(line, "trial_id")?;
        let Some((study, number)) = self.trials.get(id as usize) else { return Ok(None) };
        let trial = self.studies.get_mut(study).and_then(|study| study.trials.get_mut(*number));
        Ok(trial.filter(|trial| !trial.state.is_finished()))
    }
}

fn integer(line: &Value, field: &str) -> Applied<u64> {
    line[field].as_u64().ok_or_else(|| format!("has no {field}"))
}

/// A field with names and values; empty if there is none.
fn object(line: &Value, field: &str) -> Applied<Map<String, Value>> {
    match line.get(field) {
        Some(Value::Object(object)) => Ok(object.clone()),
        None | Some(Value::Null) => Ok(Map::new()),
        Some(_) => Err(format!("has a {field} of another form")),
    }
}

fn read_state(state: &Value) -> Applied<TrialState> {
    state.as_u64().and_then(TrialState::from_code).ok_or_else(|| format!("has the state {state}"))
}

fn read_time(line: &Value, field: &str) -> Applied<Option<SystemTime>> {
    match line.get(field).and_then(Value::as_str) {
        Some(text) => time::read(text).map(Some).ok_or_else(|| format!("has the time {text}")),
        None => Ok(None),
    }
}

fn values(values: &Value) -> Applied<Option<Vec<f64>>> {
    let Some(values) = values.as_array() else { return Ok(None) };
    let values: Option<Vec<f64>> = values.iter().map(number).collect();
    values.map(Some).ok_or_else(|| "has values that are no numbers".into())
}

fn parameter(distribution: Distribution, internal: &Value) -> Applied<Parameter> {
    let internal = number(internal).ok_or("has a parameter without a number")?;
    if distribution.to_external(internal).is_none() {
        return Err(format!("has a parameter with the unknown choice {internal}"));
    }
    Ok(Parameter { distribution, internal })
}
