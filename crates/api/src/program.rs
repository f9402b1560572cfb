//! Programs: what a workload runs, once everything about it is resolved.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::Runtime;

/// The code of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Code {
    /// One file.
    File {
        /// Its name in the working directory.
        name: String,
        /// Its content.
        bytes: Bytes,
    },
    /// A tar.gz archive that was checked at the edge: no entry leaves the working directory, none is a device or a link
    /// that does, and all of it fits the limits.
    Archive {
        /// The archive as it was sent.
        bytes: Bytes,
        /// The file to run, relative to the archive's root.
        entrypoint: String,
    },
}

impl Code {
    /// Returns the archive's or the file's bytes.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        match self {
            Self::File { bytes, .. } | Self::Archive { bytes, .. } => bytes,
        }
    }

    /// Returns the file to run, relative to the working directory.
    #[must_use]
    pub fn entrypoint(&self) -> &str {
        match self {
            Self::File { name, .. } => name,
            Self::Archive { entrypoint, .. } => entrypoint,
        }
    }
}

/// What a workload runs: checked, complete, and independent of where it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// What runs the code.
    pub runtime: Runtime,
    /// The code.
    pub code: Code,
    /// The input as a JSON text.
    pub input: Bytes,
    /// Arguments.
    pub args: Vec<String>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
}
