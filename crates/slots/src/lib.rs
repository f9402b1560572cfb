//! Slots: what a backend of processes makes ahead of its instances, and the instance that lives in one.
//!
//! ```text
//! Pool of slots ── Slot = launcher process + cgroup + user id      (outlives instances)
//!    │
//!    └─ start: lease a slot ─▶ set its limits ─▶ launch ─▶ handshake ─▶ SlotInstance
//!                                                          stop: kill PID 1 ─▶ give the slot back, or throw it away
//! ```
//!
//! Owns slots and instances. The mechanism is in `vulcan-host`, the conversation with the guest in `vulcan-backend`. Refuses to
//! know what runs inside: a backend brings the guest's executable and what its instances are able to do.

mod instance;
mod last_words;
mod options;
mod pool;
mod probe;
mod slot;
mod start;
mod watch;

pub use instance::SlotInstance;
pub use last_words::LastWords;
pub use options::{Overhead, SlotOptions};
pub use pool::Pool;
pub use probe::Prober;
pub use slot::ViewParts;
pub use start::Guest;
