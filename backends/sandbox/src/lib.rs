//! The `sandbox` class: native namespaces, a read-only view of the host, Landlock, seccomp, a cgroup.
//!
//! ```text
//! Sandbox ── Pool of slots ── Slot = launcher process + cgroup + user id      (outlives instances)
//!    │
//!    └─ start: lease a slot ─▶ set its limits ─▶ launch ─▶ handshake ─▶ SandboxInstance
//!                                                             stop: kill PID 1 ─▶ give the slot back, or throw it away
//! ```
//!
//! Owns slots and instances. The mechanism is in `vulcan-host`, the conversation with the guest in `vulcan-backend`.
//! Refuses to know workloads, nodes, and how code reaches it.

mod backend;
mod instance;
mod options;
mod pool;
mod probe;
mod runtimes;
mod slot;
mod watch;

pub use backend::Sandbox;
pub use options::Options;
