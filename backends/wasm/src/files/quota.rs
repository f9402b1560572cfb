//! What files may take: the instance's disk space, and its memory, since both are the same here.

use std::sync::Arc;

use crate::budget::Budget;

/// Why something could not be done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    /// There is nothing under that name.
    NotFound,
    /// There is something already.
    Exists,
    /// A part of the path is no folder.
    NoFolder,
    /// It is a folder.
    IsFolder,
    /// The folder has something in it.
    NotEmpty,
    /// The path leads out of what was given.
    LeadsOut,
    /// Too many links, or a link where none is followed.
    Loop,
    /// The name or the path is too long.
    NameTooLong,
    /// The name cannot be one.
    Invalid,
    /// It would be larger than any file.
    TooLarge,
    /// The disk space is used up.
    DiskFull,
    /// The memory is used up: this ends the program, as it does in every class.
    OutOfMemory,
}

/// Counts what the files of an instance take.
#[derive(Debug)]
pub(crate) struct Quota {
    bytes_max: u64,
    used: u64,
    memory: Arc<Budget>,
}

impl Quota {
    pub(crate) fn new(bytes_max: u64, memory: Arc<Budget>) -> Self {
        Self {
            bytes_max,
            used: 0,
            memory,
        }
    }

    /// Takes space of the disk and of the memory, or of none of them.
    pub(crate) fn take(&mut self, bytes: u64) -> Result<(), Problem> {
        if bytes > self.free() {
            return Err(Problem::DiskFull);
        }
        if !self.memory.take(bytes) {
            return Err(Problem::OutOfMemory);
        }
        self.used += bytes;
        Ok(())
    }

    pub(crate) fn give_back(&mut self, bytes: u64) {
        self.used -= bytes;
        self.memory.give_back(bytes);
    }

    pub(crate) fn free(&self) -> u64 {
        self.bytes_max - self.used
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        self.memory.give_back(self.used);
    }
}
