//! The classes `container` and `gvisor`: programs of any image, in a bundle that crun, runc or runsc starts.
//!
//! ```text
//! Root (layers) + Upper ──▶ mounts that are attached nowhere ─┐
//! configuration (oci-spec) ──▶ text ──────────────────────────┼─▶ the slot's keeper: overlayfs, bundle ─▶ runtime ─▶ agent
//! Launcher: which runtime, and how it is called ──────────────┘
//! ```
//!
//! Owns the configuration of the bundle, and how each runtime is found and called. Slots and instances are in `vulcan-slots`,
//! the keeper in `vulcan-host`, the conversation with the guest in `vulcan-backend`. Refuses to know images, registries and
//! where layers come from.

mod backend;
mod configuration;
mod furniture;
mod launcher;
mod options;
mod root;
mod runtimes;

pub use backend::Oci;
pub use options::{ContainerRuntime, Options, Platform};
