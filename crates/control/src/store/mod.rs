//! The records, in one SQLite database.
//!
//! One task writes, and commits many commands at once; a small pool reads. Refuses to know what a record means: it stores
//! what it is given, and says whether it is stored.

mod benchmarks;
mod database;
mod error;
mod read;
mod row;
mod step;
mod write;
mod writer;

pub(crate) use database::{OpenOptions, Store};
pub use error::Error;
pub(crate) use read::{Filter, Page, Unfinished};
pub(crate) use write::{Insert, KeyClaim, Write, Written};
pub(crate) use writer::PendingWrite;

#[cfg(test)]
mod tests;
