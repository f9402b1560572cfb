//! The isolate class on this host: the conformance suite, and what is the isolate's own.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod conformance;
mod figures;
mod harness;
