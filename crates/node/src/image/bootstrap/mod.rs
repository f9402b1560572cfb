//! The platform's own images, out of Debian's packages, and without any registry.
//!
//! ```text
//! vulcan/minimal      a shell, coreutils, certificates, time zones: one layer, which the others stand on
//! vulcan/python  ──┐
//! vulcan/node    ──┼─ minimal's layer, and one with the interpreter and what it depends on
//! vulcan/go      ──┘
//! ```
//!
//! `mmdebstrap --variant=extract` resolves, downloads, checks and unpacks; no maintainer script of a package is ever run. What
//! those would have done, as far as an image needs it, is done by [`tree`]. Equal packages make equal layers, bit for bit.
//! Owns what the images are made of. Refuses to know how a layer is kept.

mod definitions;
mod make;
pub(super) mod packages;
mod precompile;
mod pretended;
mod sources;
pub(super) mod tree;

pub(super) use make::settle;

#[cfg(test)]
mod tests;
