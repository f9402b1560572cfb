//! Benchmarks: the same work on every class, measured from inside of the control plane.
//!
//! ```text
//! desk (one at a time) ─▶ runner ─▶ plan (pure) ─▶ steps: starts, rates, memory, floors ─▶ record
//!                            │                       │
//!                            └─ every step on disk   └─ workloads through the app, as everybody's; bare commands by the node
//! ```
//!
//! Its workloads carry a label with its id, and are forgotten with their logs when their step is over: a benchmark must not push
//! anybody's records out. Refuses to know how an instance is started: the classes' rows are data ([`programs`]), and whether a
//! way to start is offered is what the workloads' records say.

mod caller;
mod desk;
mod floors;
mod memory;
mod plan;
mod programs;
mod rates;
mod runner;
mod starts;
mod statistics;

pub(crate) use desk::{Desk, end_former};
