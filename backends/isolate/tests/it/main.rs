//! The isolate class on this host: the conformance suite, and what is the isolate's own.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod archive;
mod attacks;
mod conformance;
mod figures;
mod harness;
mod host_script;
mod own;
