//! The namespace launcher: a helper process per slot that turns a request into a confined process.
//!
//! ```text
//! server ── Setup ──▶ launcher      builds the read-only view in a mount namespace of its own, pivots into it
//!        ◀─ Ready ──
//!        ── Launch + channel, executable ──▶   the spare, if it is of this kind; otherwise one is made now:
//!             clone3: user, pid, mount, net, ipc, uts, cgroup namespaces
//!                └─ ids, /proc, loopback, writable space, limits, capabilities, Landlock, seccomp; waits; exec
//!        ◀─ Launched + pidfd ──                 or Failed: nothing is left
//!                                              then the next spare, of the same kind
//! ```
//!
//! Why a process: attaching a process to a cgroup v1 waits for an RCU grace period (8.9 ms here), inheriting one costs
//! nothing; and what the server holds (memory, secrets, descriptors) never is in the address space that is copied. The
//! launcher ends when its socket closes, and the kernel then kills what it started: a dead server leaves nothing running.
//!
//! Where a container runtime is to start the instance, it comes in a bundle: see [`bundle`].
//!
//! Refuses to know what runs inside: it is given an executable, by descriptor or by its path in the view, and a socket for it.

pub mod bundle;
mod channel;
mod child;
mod handle;
mod message;
mod serve;
mod view;

pub use handle::{LaunchError, Launched, Launcher, Program};
pub use message::{Bundle, BundleUpper, Command, Launch, Placed, Ready, Setup, ViewFile};
pub use serve::run;

/// The user and group id of everything inside an instance.
pub const GUEST_ID: u32 = 1000;
/// The descriptor under which the started executable finds its channel.
pub const CHANNEL_FD: i32 = 3;
