//! The classes `container` and `gvisor` on this host: the conformance suite, and what is their own.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod attacks;
mod conformance;
mod figures;
mod harness;
mod own;
