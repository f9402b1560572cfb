//! Linux primitives: control groups, the namespace launcher, seccomp, Landlock, mounts.
//!
//! Everything here is mechanism: it takes plain values and file descriptors. Refuses to know workloads, runtimes, backends
//! and the guest protocol.

pub mod cgroup;
pub mod launcher;
pub mod memfd;
pub mod mounts;
pub mod process;
mod restrict;
mod sys;

pub use restrict::{AllowedCall, Condition, ProcessLimits, allowed_list, filter_bytes, landlock_abi};
