//! Errors for a person: a chain of what was being done.

use std::fmt;

/// What went wrong, from the outside to the inside.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Failure {
    /// Makes a failure that has no cause below it.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            source: None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}", self.what)?;
        let mut cause: Option<&dyn std::error::Error> = self.source.as_deref().map(|source| source as _);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Says what was being done when something failed.
pub(crate) trait Context<T> {
    /// Adds it, in words that read well after "could not".
    fn doing(self, what: impl Into<String>) -> Result<T, Failure>;
}

impl<T, E: Into<Box<dyn std::error::Error + Send + Sync>>> Context<T> for Result<T, E> {
    fn doing(self, what: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|error| Failure {
            what: what.into(),
            source: Some(error.into()),
        })
    }
}
