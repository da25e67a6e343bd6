use std::{borrow::Cow, error::Error, fmt};

/// An error that knows whose fault it is.
///
/// Every crate's error implements it, so that a program can tell wrong usage (exit code 2) from
/// everything else (exit code 1) without a list of its own.
pub trait Fault: Error + Send + Sync + 'static {
    /// Whether the error lies in the request itself, rather than in what happened while serving it.
    fn is_usage(&self) -> bool;

    /// The setting that the error is about, if any: for programs that use a different name for it.
    fn setting(&self) -> Option<&OutOfRange> {
        None
    }
}

/// Any error that knows whose fault it is: the type passed on between crates.
#[derive(Debug)]
pub struct AnyFault(Box<dyn Fault>);

impl AnyFault {
    /// Wraps an error.
    pub fn new(error: impl Fault) -> Self {
        Self(Box::new(error))
    }

    /// The error, if it is of this type.
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        let error: &(dyn Error + 'static) = self.0.as_ref();
        error.downcast_ref()
    }
}

impl fmt::Display for AnyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for AnyFault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl Fault for AnyFault {
    fn is_usage(&self) -> bool {
        self.0.is_usage()
    }

    fn setting(&self) -> Option<&OutOfRange> {
        self.0.setting()
    }
}

/// A setting that is out of range: the one error for it.
///
/// Libraries name the field as their structs do; a program translates it into its own words, e.g.
/// `batch_size` into `--batch-size`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutOfRange {
    /// The field's name, e.g. `batch_size`.
    pub field: Cow<'static, str>,
    /// What it held.
    pub value: String,
    /// What it should hold, as advice: `use 1 or more, e.g. 64`.
    pub remedy: Cow<'static, str>,
}

impl OutOfRange {
    /// A field, its value and what it should be instead.
    pub fn new(
        field: impl Into<Cow<'static, str>>,
        value: impl ToString,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { field: field.into(), value: value.to_string(), remedy: remedy.into() }
    }
}

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}: {}", self.field, self.value, self.remedy)
    }
}

impl Error for OutOfRange {}

impl Fault for OutOfRange {
    fn is_usage(&self) -> bool {
        true
    }

    fn setting(&self) -> Option<&OutOfRange> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("training: {0}")]
    struct Outer(#[source] OutOfRange);

    impl Fault for Outer {
        fn is_usage(&self) -> bool {
            self.0.is_usage()
        }

        fn setting(&self) -> Option<&OutOfRange> {
            self.0.setting()
        }
    }

    #[test]
    fn a_setting_is_found_through_its_wrappers() {
        let setting = OutOfRange::new("epochs", 0, "use 1 or more");
        assert_eq!(setting.to_string(), "epochs is 0: use 1 or more");
        let any = AnyFault::new(Outer(setting.clone()));
        assert!(any.is_usage());
        assert_eq!(any.setting(), Some(&setting));
        assert!(any.downcast_ref::<Outer>().is_some());
    }
}
