//! Programs: what a workload runs, once everything about it is resolved.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{ImageName, Runtime};

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
    /// A command in an image: for runtime `image`, and only for it.
    Image(ImageProgram),
}

/// A command in an image. What is empty is the image's own; the node fills it in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageProgram {
    /// The program, by absolute path or looked up in the `PATH` of its environment, and its first arguments.
    pub argv: Vec<String>,
    /// The working directory, absolute; it is made where it is missing.
    pub working_dir: String,
    /// `user`, `uid`, `user:group` or `uid:gid`, looked up in the image.
    pub user: String,
}

impl Code {
    /// Returns the archive's or the file's bytes; a command in an image has none.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        static NOTHING: Bytes = Bytes::new();
        match self {
            Self::File { bytes, .. } | Self::Archive { bytes, .. } => bytes,
            Self::Image(_) => &NOTHING,
        }
    }

    /// Returns the file to run, relative to the working directory; a command in an image has none.
    #[must_use]
    pub fn entrypoint(&self) -> &str {
        match self {
            Self::File { name, .. } => name,
            Self::Archive { entrypoint, .. } => entrypoint,
            Self::Image(_) => "",
        }
    }
}

/// What a workload runs: checked, complete, and independent of where it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// What runs the code.
    pub runtime: Runtime,
    /// Its root filesystem, where the class needs one; `None` for the node's default for the runtime.
    pub image: Option<ImageName>,
    /// The code.
    pub code: Code,
    /// The input as a JSON text.
    pub input: Bytes,
    /// Arguments.
    pub args: Vec<String>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
}
