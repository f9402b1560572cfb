//! The launcher and the control groups of this host.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod cgroup;
mod launcher;
