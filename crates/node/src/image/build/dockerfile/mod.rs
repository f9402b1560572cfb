//! Dockerfiles: the common subset, as data. Pure.
//!
//! What is not taken is refused in words, with line and column, and never passed over in silence.

mod expand;
mod instruction;
mod lines;
mod parse;
mod words;

pub(super) use expand::{Expanded, expand};
pub(super) use instruction::{Argument, CommandLine, Copy, Dockerfile, Instruction, Stage, Step};
pub(super) use parse::parse;

/// The longest file, in bytes.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;
/// The most instructions of a file.
const STEPS_MAX: usize = 1000;

/// Why a file cannot be built from, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub(super) struct FileError {
    /// From one.
    pub(super) line: usize,
    /// From one, in characters.
    pub(super) column: usize,
    pub(super) message: String,
}

#[cfg(test)]
mod tests;
