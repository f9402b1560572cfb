//! What a guest writes to its standard error before it dies.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use vulcan_backend::BackendError;

/// How much of the end is looked at.
const TAIL_BYTES: usize = 16 * 1024;
/// How much of it is told to people.
const TOLD_CHARS: usize = 300;

/// A file in memory that takes a guest's standard error. Nobody reads it while the guest lives; what is in it counts as the
/// guest's memory, and its length as one of the guest's files.
///
/// For guests that are interpreters themselves, so that their crash is their program's.
#[derive(Debug)]
pub struct LastWords {
    /// The file; the guest writes at the offset that both share.
    pub file: File,
    /// Returns whether the end of it says that the guest died for want of memory.
    pub tell_of_memory: fn(&[u8]) -> bool,
}

impl LastWords {
    pub(crate) fn tell_of_memory(&self) -> bool {
        self.tail().is_ok_and(|tail| (self.tell_of_memory)(&tail))
    }

    /// Returns the last lines in one, cut to what people read; empty when nothing was said.
    pub(crate) fn told(&self) -> String {
        let tail = self.tail().unwrap_or_default();
        let text = String::from_utf8_lossy(&tail);
        let lines: Vec<&str> = text.split_whitespace().collect();
        lines.join(" ").chars().take(TOLD_CHARS).collect()
    }

    /// Says why a guest was lost before it spoke.
    pub(crate) fn explain(&self, error: BackendError) -> BackendError {
        match (error, self.told()) {
            (BackendError::Lost { reason }, told) if !told.is_empty() => BackendError::StartFailed {
                step: format!("{reason}; it said: {told}"),
                source: None,
            },
            (error, _) => error,
        }
    }

    fn tail(&self) -> io::Result<Vec<u8>> {
        let begin = self.file.metadata()?.len().saturating_sub(TAIL_BYTES as u64);
        let mut bytes = vec![0; TAIL_BYTES];
        let read = self.file.read_at(&mut bytes, begin)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}
