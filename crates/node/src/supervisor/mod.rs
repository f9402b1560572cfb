//! One task per workload: the only writer of its instance.
//!
//! What happens next is decided by [`lifecycle::next`](crate::lifecycle::next); here it is done.

mod log;
mod obtain;
mod run;
mod tenancy;

pub(crate) use run::Supervisor;
