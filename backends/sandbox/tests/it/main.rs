//! The sandbox class on this host.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod start;
