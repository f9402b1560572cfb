//! Decides where and when workloads run.
//!
//! A pure state machine: events go in, actions come out. It does no I/O, knows no database and no bus, and reads no clock;
//! whoever drives it passes the monotonic time with each event.

mod events;
mod lifecycle;
mod machine;
mod nodes;

pub(crate) use events::{Action, Event, Former, NodeReport, Outcome, Refusal, ReportKind, Submission};
pub(crate) use lifecycle::{Happening, next};
pub(crate) use machine::{QUEUE_WAIT_MAX, Scheduler};
pub(crate) use nodes::Need;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod rule_tests;
