//! The `vulcan` binary from outside: what it prints, how it ends, and what it leaves behind.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod commands;
mod dashboard;
mod embedded;
mod exits;
mod interrupts;
mod place;
mod serve;
mod traces;
