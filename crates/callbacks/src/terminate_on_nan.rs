use crate::{Action, Callback, Event, Result, StopReason};

/// Ends training as soon as the loss of a batch is NaN or infinite.
///
/// Follows `keras/src/callbacks/terminate_on_nan.py` (Keras 3).
#[derive(Debug, Clone, Copy, Default)]
pub struct TerminateOnNan;

impl Callback for TerminateOnNan {
    fn name(&self) -> &str {
        "terminate on NaN"
    }

    /// What comes after a NaN is NaN too: some steps later is early enough.
    fn follows_batches(&self) -> bool {
        false
    }

    fn on_event(&mut self, event: &Event<'_>, actions: &mut Vec<Action>) -> Result<()> {
        if let Event::BatchEnd { epoch, step, loss, .. } = *event
            && !loss.is_finite()
        {
            let reason = StopReason::NotFinite { epoch, step, loss };
            actions.push(Action::Stop { reason });
        }
        Ok(())
    }
}
