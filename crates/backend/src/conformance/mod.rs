//! The definition of a backend, as tests: one named rule per promise.
//!
//! A backend's own tests give a [`Harness`] and call [`conformance_suite!`](crate::conformance_suite); the macro makes
//! one `#[test]` per rule. A rule drives the backend through the public traits alone. After every rule the host must be as
//! it was, and the next workload must run clean.
//!
//! ```ignore
//! mod conformance {
//!     vulcan_backend::conformance_suite!(crate::MyHarness::new());
//! }
//! ```
//!
//! Owns the rules, the acts that programs perform ([`Act`]), the attacks and their bait on the host, and a translation of
//! all of it for classes that run Python ([`python`]). Refuses to know any concrete backend; what is left over on the host
//! is the harness' to say. It panics where a promise is broken: it is test code, and nothing else calls it.

mod act;
mod archive;
mod attack;
mod bait;
mod harness;
mod proof;
pub mod python;
pub mod rules;
mod running;
mod stage;
mod suite;

pub use act::{Act, Ending, Output};
pub use attack::{ATTACKS, Attack, Proof};
pub use harness::{Broken, Harness, Inapplicable};
pub use running::{Ended, Logs, Running};
pub use stage::{DEADLINE, Inexpressible, Stage, Verdict};
pub use suite::{RULES, check, check_exceptions};
