use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use taper_core::Monitor;

use crate::{Action, Error, Event, Logs, Result};

/// Something that watches training and asks for actions, but changes nothing itself.
pub trait Callback: Send {
    /// Its name in errors and in saved state.
    fn name(&self) -> &str;

    /// Handles an event and pushes the requested actions, in order.
    ///
    /// # Errors
    /// Anything that should end training with an error, such as a monitored value that is missing.
    fn on_event(&mut self, event: &Event<'_>, actions: &mut Vec<Action>) -> Result<()>;

    /// Whether it must see the end of a step before the next one is taken. If no callback must, a
    /// trainer on a device may report several steps together, so that it need not wait for each.
    /// The default is yes.
    fn follows_batches(&self) -> bool {
        true
    }

    /// Its whole state. The default is for callbacks without state.
    ///
    /// # Errors
    /// [`Error::State`] if it cannot be written.
    fn state(&self) -> Result<Value> {
        Ok(Value::Null)
    }

    /// Continues with what [`Callback::state`] returned, from the next [`Event::TrainBegin`] with
    /// `resumed` on.
    ///
    /// # Errors
    /// [`Error::State`] if it does not fit.
    fn restore(&mut self, state: Value) -> Result<()> {
        match state {
            Value::Null => Ok(()),
            _ => Err(Error::State(format!(
                "{} has no state, but state was saved for it",
                self.name()
            ))),
        }
    }
}

/// An action, and which callback asked for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Position of the callback in the list. Kept weights belong to this position.
    pub callback: usize,
    /// What it asks for.
    pub action: Action,
}

/// The callbacks of a training run, which receive every event in order.
///
/// The order matters where actions conflict: of two [`Action::RestoreWeights`], the later one wins.
#[derive(Default)]
pub struct Callbacks(Vec<Box<dyn Callback>>);

/// The saved state of one callback.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    name: String,
    state: Value,
}

impl Callbacks {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one at the end.
    pub fn push(&mut self, callback: impl Callback + 'static) {
        self.0.push(Box::new(callback));
    }

    /// Adds a boxed callback at the end.
    pub fn push_boxed(&mut self, callback: Box<dyn Callback>) {
        self.0.push(callback);
    }

    /// Adds one at the end.
    #[must_use]
    pub fn with(mut self, callback: impl Callback + 'static) -> Self {
        self.push(callback);
        self
    }

    /// All of them, in order.
    pub fn into_boxed(self) -> Vec<Box<dyn Callback>> {
        self.0
    }

    /// Their names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|c| c.name())
    }

    /// Passes the event to all of them, and returns the actions that they ask for, in order.
    ///
    /// # Errors
    /// The error of the first callback that fails.
    pub fn handle(&mut self, event: &Event<'_>) -> Result<Vec<Request>> {
        let mut requests = Vec::new();
        let mut actions = Vec::new();
        for (index, callback) in self.0.iter_mut().enumerate() {
            callback.on_event(event, &mut actions)?;
            requests.extend(actions.drain(..).map(|action| Request { callback: index, action }));
        }
        Ok(requests)
    }

    /// Whether one of them must see the end of a step before the next one is taken.
    pub fn follow_batches(&self) -> bool {
        self.0.iter().any(|c| c.follows_batches())
    }

    /// The state of all of them: part of a checkpoint. Take it after [`Callbacks::handle`] has
    /// returned, so that it already includes the checkpoint that is being saved.
    ///
    /// # Errors
    /// [`Error::State`] if one of them cannot be written.
    pub fn state(&self) -> Result<Value> {
        let saved = self
            .0
            .iter()
            .map(|c| Ok(Saved { name: c.name().into(), state: c.state()? }))
            .collect::<Result<Vec<_>>>()?;
        save(&saved)
    }

    /// Continues with what [`Callbacks::state`] returned. Follow it with [`Event::TrainBegin`] and
    /// `resumed: true`.
    ///
    /// # Errors
    /// [`Error::State`] if it is the state of other callbacks.
    pub fn restore(&mut self, state: Value) -> Result<()> {
        let saved: Vec<Saved> = load("the list", state)?;
        let theirs: Vec<&str> = saved.iter().map(|s| s.name.as_str()).collect();
        let ours: Vec<&str> = self.names().collect();
        if theirs != ours {
            return Err(Error::State(format!(
                "it belongs to [{}], but the callbacks are [{}]",
                theirs.join(", "),
                ours.join(", ")
            )));
        }
        for (callback, saved) in self.0.iter_mut().zip(saved) {
            callback.restore(saved.state)?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// A callback made from a function. See [`from_fn`].
pub struct FromFn<F> {
    name: String,
    function: F,
}

/// Makes a callback from a function without state (or without state that a resumed training run
/// needs).
///
/// ```
/// use taper_callbacks::{Action, Callbacks, Event, StopReason, from_fn};
/// let deadline = from_fn("deadline", |event: &Event<'_>, actions: &mut Vec<Action>| {
///     if let Event::BatchEnd { step: 999, .. } = event {
///         let reason = StopReason::Other { reason: "1000 steps are enough".into() };
///         actions.push(Action::Stop { reason });
///     }
///     Ok(())
/// });
/// let callbacks = Callbacks::new().with(deadline);
/// assert_eq!(callbacks.names().collect::<Vec<_>>(), ["deadline"]);
/// ```
pub fn from_fn<F>(name: impl Into<String>, function: F) -> FromFn<F>
where
    F: FnMut(
            &Event<'_>,
            &mut Vec<Action>,
        ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>
        + Send,
{
    FromFn { name: name.into(), function }
}

impl<F> Callback for FromFn<F>
where
    F: FnMut(
            &Event<'_>,
            &mut Vec<Action>,
        ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>
        + Send,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn on_event(&mut self, event: &Event<'_>, actions: &mut Vec<Action>) -> Result<()> {
        (self.function)(event, actions)
            .map_err(|source| Error::User { callback: self.name.clone(), source })
    }
}

pub(crate) fn save<T: Serialize>(state: &T) -> Result<Value> {
    serde_json::to_value(state).map_err(|e| Error::State(e.to_string()))
}

pub(crate) fn load<T: DeserializeOwned>(name: &str, state: Value) -> Result<T> {
    serde_json::from_value(state).map_err(|e| Error::State(format!("{name}: {e}")))
}

/// The monitored value must be among what training says it will report.
pub(crate) fn check_reported(name: &str, monitor: &Monitor, reported: &[&str]) -> Result<()> {
    if reported.contains(&monitor.name()) {
        return Ok(());
    }
    Err(missing(name, monitor, reported))
}

/// The monitored value of an epoch.
pub(crate) fn monitored(name: &str, monitor: &Monitor, logs: &Logs) -> Result<f64> {
    logs.get(monitor.name())
        .ok_or_else(|| missing(name, monitor, &logs.names().collect::<Vec<_>>()))
}

fn missing(name: &str, monitor: &Monitor, reported: &[&str]) -> Error {
    Error::MissingMonitor {
        callback: name.into(),
        monitor: monitor.name().into(),
        reported: if reported.is_empty() { "nothing".into() } else { reported.join(", ") },
    }
}
