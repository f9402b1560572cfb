//! From bytes to something that runs: checked, compiled once, kept.
//!
//! ```text
//! load ─▶ in memory? ─yes─▶ done
//!           │ no
//!           ▼
//!         a thread of its own, few at a time, with a deadline:
//!         unpack ─▶ text to binary ─▶ check the limits ─▶ on disk? ─no─▶ compile ─▶ keep on disk ─▶ link ─▶ keep in memory
//! ```

mod artifact;
mod check;
mod loader;
mod lru;
mod source;
mod store;
mod threads;

pub(crate) use artifact::{Artifact, Entry};
pub(crate) use loader::{LoadError, Loader};
