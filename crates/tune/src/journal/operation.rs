use serde_json::{Map, Value, json};

use crate::{Distribution, TrialState, python::written, time};

/// A line of the journal, as `optuna/storages/journal/_storage.py` defines them. Studies and trials
/// have numbers in the order in which they appear in the journal.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    /// 0: a new study. Directions are 1 for smaller, 2 for larger values.
    CreateStudy { name: String, directions: Vec<u8> },
    /// 2: what a user notes about a study.
    SetStudyAttribute { study: u64, key: String, value: Value },
    /// 4: a new trial, running or waiting.
    CreateTrial { study: u64, state: TrialState, system_attributes: Map<String, Value> },
    /// 5: the value of a parameter.
    SetParameter { trial: u64, name: String, internal: f64, distribution: Distribution },
    /// 6: a new state, with the value if there is one.
    SetState { trial: u64, state: TrialState, value: Option<f64> },
    /// 7: an intermediate value.
    Report { trial: u64, step: i64, value: f64 },
    /// 8: what a user notes about a trial.
    SetUserAttribute { trial: u64, key: String, value: Value },
    /// 9: what a sampler or a pruner notes.
    SetSystemAttribute { trial: u64, key: String, value: Value },
}

impl Operation {
    /// The line, with its end. Times are now.
    pub(crate) fn line(&self, worker: &str) -> String {
        let now = || time::written(std::time::SystemTime::now());
        let (code, mut fields) = match self {
            Self::CreateStudy { name, directions } => {
                (0, json!({ "study_name": name, "directions": directions }))
            }
            Self::SetStudyAttribute { study, key, value } => {
                (2, json!({ "study_id": study, "user_attr": { key: value } }))
            }
            Self::CreateTrial { study, state, system_attributes } => {
                let running = *state == TrialState::Running;
                let mut fields = json!({ "study_id": study, "datetime_start": running.then(now) });
                if !running {
                    fields["state"] = state.code().into();
                }
                if !system_attributes.is_empty() {
                    fields["system_attrs"] = Value::Object(system_attributes.clone());
                }
                (4, fields)
            }
            Self::SetParameter { trial, name, distribution, .. } => (
                5,
                json!({
                    "trial_id": trial,
                    "param_name": name,
                    "distribution": distribution.to_json(),
                }),
            ),
            Self::SetState { trial, state, .. } => {
                let mut fields = json!({ "trial_id": trial, "state": state.code() });
                if *state == TrialState::Running {
                    fields["datetime_start"] = now().into();
                } else if state.is_finished() {
                    fields["datetime_complete"] = now().into();
                }
                (6, fields)
            }
            Self::Report { trial, step, .. } => (7, json!({ "trial_id": trial, "step": step })),
            Self::SetUserAttribute { trial, key, value } => {
                (8, json!({ "trial_id": trial, "user_attr": { key: value } }))
            }
            Self::SetSystemAttribute { trial, key, value } => {
                (9, json!({ "trial_id": trial, "system_attr": { key: value } }))
            }
        };
        fields["op_code"] = code.into();
        fields["worker_id"] = worker.into();
        let mut line = fields.to_string();
        // Numbers may have names that JSON does not know: they are added in Python's form.
        let numbers = match self {
            Self::SetParameter { internal, .. } => {
                format!(",\"param_value_internal\":{}", written(*internal))
            }
            Self::SetState { value, .. } => {
                let value = value.map_or("null".into(), |value| format!("[{}]", written(value)));
                format!(",\"values\":{value}")
            }
            Self::Report { value, .. } => format!(",\"intermediate_value\":{}", written(*value)),
            _ => String::new(),
        };
        line.insert_str(line.len() - 1, &numbers);
        line.push('\n');
        line
    }
}
