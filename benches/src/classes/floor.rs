//! What runs bare beside a target.

use std::path::Path;

use super::{blank, bundle};
use crate::{bare::Bare, context::Failure};

/// What runs bare beside a target.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Floor {
    /// Nothing comparable runs bare.
    None,
    /// The interpreter on an empty program.
    Python,
    /// First code in a Deno process that was started ahead: its language, and the code.
    DenoBlank(&'static str, &'static str),
    /// An OCI runtime on a bundle with nothing but busybox.
    Bundle(bundle::Runtime),
}

impl Floor {
    /// Returns what it is, for the table.
    pub(crate) fn text(self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Python => Some(python().text()),
            Self::Bundle(runtime) => Some(runtime.text().to_owned()),
            Self::DenoBlank(language, _) => Some(format!("first {language} in a blank deno")),
        }
    }

    /// Runs it once, and returns the milliseconds; `None` where there is nothing to run.
    ///
    /// # Errors
    ///
    /// When it cannot be run.
    pub(crate) fn time(self, folder: &Path) -> Result<Option<f64>, Failure> {
        match self {
            Self::None => Ok(None),
            Self::Python => python().time().map(Some),
            Self::Bundle(runtime) => runtime.time(folder).map(Some),
            Self::DenoBlank(language, code) => blank::time(language, code).map(Some),
        }
    }
}

fn python() -> Bare {
    Bare::new(["/usr/bin/python3", "-c", "pass"])
}
