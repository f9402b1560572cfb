//! Registries: what is asked of them, and what is believed (OCI distribution specification, Docker's token authentication).
//!
//! Own over an HTTP client, and not a registry library: what a hostile registry sends has to have limits (a manifest, a token and
//! an error may otherwise be endless), and a blob is taken up where it broke off.
//!
//! Refuses to know what is done with what comes.

mod auth;
mod blob;
mod client;
mod trouble;

pub(super) use blob::{Fetch, fetch};
pub(super) use client::{Access, Registry};
pub(super) use trouble::Trouble;
