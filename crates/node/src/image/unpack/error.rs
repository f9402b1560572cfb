//! Why an archive was not unpacked.

use std::{io, path::Path};

use crate::image::problem::is_full;

/// Why an archive was not unpacked. What was unpacked of it is to be removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    /// An entry breaks a rule that keeps the host safe.
    #[error("its entry '{path}' {rule}")]
    Entry { path: String, rule: String },
    /// It is larger than allowed; it may be a bomb.
    #[error("it has more than {limit} {what}")]
    Limit { what: &'static str, limit: u64 },
    /// It is not an archive, or is cut short.
    #[error("it is broken: {reason}")]
    Broken { reason: String },
    /// The disk is full.
    #[error("there is no room for '{path}': {source}")]
    Full { path: String, source: io::Error },
    /// The disk does not do what it was asked.
    #[error("'{path}' could not be written: {source}")]
    Disk { path: String, source: io::Error },
    /// Nobody waits for it any more.
    #[error("it was given up")]
    Stopped,
}

impl UnpackError {
    pub(super) fn entry(path: &[u8], rule: impl Into<String>) -> Self {
        Self::Entry {
            path: shown(path),
            rule: rule.into(),
        }
    }

    pub(crate) fn entry_at(path: &Path, rule: impl Into<String>) -> Self {
        Self::entry(path.as_os_str().as_encoded_bytes(), rule)
    }

    pub(super) fn broken(reason: impl Into<String>) -> Self {
        Self::Broken {
            reason: reason.into(),
        }
    }

    pub(super) fn disk(path: &[u8], source: impl Into<io::Error>) -> Self {
        let (path, source) = (shown(path), source.into());
        if is_full(&source) {
            Self::Full { path, source }
        } else {
            Self::Disk { path, source }
        }
    }

    pub(crate) fn disk_at(path: &Path, source: impl Into<io::Error>) -> Self {
        Self::disk(path.as_os_str().as_encoded_bytes(), source)
    }
}

/// How long a name is shown: hostile ones may be long.
const SHOWN_LEN_MAX: usize = 200;

/// A name from an archive as people may see it: no control characters, not endless.
fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path)
        .chars()
        .take(SHOWN_LEN_MAX)
        .flat_map(char::escape_debug)
        .collect()
}
