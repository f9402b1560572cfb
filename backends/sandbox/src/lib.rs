//! The `sandbox` class: native namespaces, a read-only view of the host, Landlock, seccomp, a cgroup.
//!
//! Owns what is special about the class: the guest agent as the first process, commands and files, and which interpreters the
//! host has. Slots and instances are in `vulcan-slots`, the mechanism in `vulcan-host`, the conversation with the guest in
//! `vulcan-backend`. Refuses to know workloads, nodes, and how code reaches it.

mod backend;
mod options;
mod runtimes;

pub use backend::Sandbox;
pub use options::Options;
