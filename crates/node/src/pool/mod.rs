//! Instances that are kept ready: *blank* ones, which never ran code and are burned by the one workload that takes them, and
//! *warm* ones, which have loaded one owner's code and serve that owner's calls of it, again and again.
//!
//! ```text
//!                     ┌────────────── refill, in the background ───────────────┐
//! (nothing) ──start──▶ blank ──taken──▶ one-shot workload ──▶ stopped          │
//!                        └─────taken──▶ first call ──▶ warm ◀──▶ later calls   │
//!                                                       └─ idle, evicted, died ─▶ stopped
//! ```
//!
//! What to start and what to stop is decided by one pure function, [`plan`]; the state is one map behind a lock that
//! is never held while anything is waited for; [`tend`] carries plans out. Idle instances count against the pools'
//! own budget and not against the node's capacity; whoever runs in one has a share of that as ever.
//!
//! No instance is noted in the node's database while it is idle: a sweep removes what a killed server leaves.

mod audit;
mod backoff;
mod blank;
mod demand;
mod info;
mod keeper;
mod key;
mod kind;
mod limits;
mod memory;
mod plan;
mod state;
mod tend;
mod want;
mod warm;

#[cfg(test)]
mod tests;

pub(crate) use blank::{Ready, Taken};
pub(crate) use keeper::{Pool, Running, Setup};
pub(crate) use key::Circumstances;
pub(crate) use kind::{BlankKind, RootId, Size};
pub use limits::{BlankName, PoolLimits};
pub(crate) use memory::Memory;
pub(crate) use plan::Reason;
pub(crate) use tend::DefaultRoots;
pub(crate) use want::Want;
pub(crate) use warm::{After, Ask, Lease, Loaded, Patience, Seat};
