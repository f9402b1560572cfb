//! Control groups, version 1 and 2: limits that a whole group of processes shares, and what it used.
//!
//! A [`Tree`] is a folder of ours in every hierarchy that is needed; a [`Group`] is one group in it. All calls are short
//! and blocking; attaching a process may take tens of milliseconds (the kernel waits for a grace period).
//! Source: Documentation/admin-guide/cgroup-v1/, cgroup-v2.rst.

mod detect;
mod group;
mod tree;
mod v1;
mod v2;

pub use group::{Group, GroupUsage, Limits};
pub use tree::Tree;
