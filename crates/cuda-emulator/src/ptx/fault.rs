use std::fmt;

use super::{
    program::{Function, Step},
    text::Unclear,
};
use crate::status::{ERROR_INVALID_PTX, Status};

/// Why a kernel did not run, or did not finish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub(crate) status: Status,
    pub(crate) what: String,
}

impl Fault {
    pub(crate) fn new(status: Status, what: impl Into<String>) -> Self {
        Self { status, what: what.into() }
    }

    /// The driver's error for it (`CUresult`).
    pub fn status(&self) -> i32 {
        self.status
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Fault {}

impl From<Unclear> for Fault {
    fn from(unclear: Unclear) -> Self {
        Self::new(ERROR_INVALID_PTX, format!("PTX line {}: {}", unclear.line, unclear.what))
    }
}

/// A fault at a step of a kernel.
pub(super) fn fault(function: &Function, step: &Step, status: i32, what: &str) -> Fault {
    Fault::new(status, format!("kernel {}, PTX line {}: {what}", function.name, step.line))
}
