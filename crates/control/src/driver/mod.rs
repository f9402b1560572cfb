//! The one task that owns all unfinished workloads: it feeds the scheduler, and does what the scheduler says with the bus
//! and the store.

mod entry;
mod message;
mod recovery;
mod task;
mod writing;

pub use recovery::Recovery;

pub(crate) use message::{Message, Shared, Submit, SubmitError, Submitted};
pub(crate) use task::Driver;
