//! Images: had from registries, archives and builds; kept as blobs and unpacked layers; lent to instances as roots.
//!
//! ```text
//! registry ──▶ blobs (by digest, verified) ──unpack, once each──▶ layers (folders) ──▶ Root: what an instance stands on
//! archive  ──▶                                                       ▲
//! build, bootstrap ── a folder of changes ───────────────────────────┘
//! ```
//!
//! Owns the folder of the store and everything in it. Refuses to know how an instance uses a root.

mod add;
mod archive;
mod bootstrap;
mod build;
mod digest;
mod disk;
mod gc;
mod images;
mod layer;
mod making;
mod manifest;
mod obey;
mod options;
mod pack;
mod problem;
mod pull;
mod record;
mod registry;
mod store;
mod teller;
mod unpack;

#[cfg(test)]
mod tests;

pub(crate) use add::NewImage;
pub use build::BuildOptions;
pub(crate) use digest::Digest;
pub(crate) use disk::Scratch;
pub(crate) use images::{Events, Images, Ready, Setup};
pub(crate) use layer::{Layer, LayerSource};
pub use options::ImageOptions;
pub(crate) use unpack::{Meaning, UnpackLimits, unpack};
