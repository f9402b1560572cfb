//! What must survive this process: which instances may live, and which ends nobody has acknowledged.
//!
//! Owns `node.db`. One task writes it, many changes per commit; the way of a workload never waits for it.

mod database;
mod report;
mod writer;

pub(crate) use database::{Database, InstanceRow};
pub(crate) use writer::Store;
