//! Logs: one append-only file per workload, made at its first byte, with any number of readers while it grows.
//!
//! Owns the folder `logs` of the data directory. Refuses to know what a program is: it gets chunks of bytes, and only what
//! it says itself becomes a line of the platform.

mod directory;
mod file;
mod format;
mod lines;
mod reader;
mod writer;

pub(crate) use directory::Logs;
pub(crate) use writer::{Ended, Writer};
