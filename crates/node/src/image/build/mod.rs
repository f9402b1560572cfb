//! Builds: an image out of a recipe or a Dockerfile, and a context.
//!
//! ```text
//! context ──unpack, ignore──▶ folder ─┐
//! Dockerfile ──parse──▶ stages ───────┼──▶ steps ──▶ layers ──▶ image
//! vulcan.toml ──parse──▶ recipe ──────┘       │
//!                                             ├─ COPY, ADD, files: written here, beneath an empty folder
//!                                             ├─ RUN: in an instance without a network, never on the host
//!                                             └─ packages: unpacked by mmdebstrap, no script of theirs is run
//! ```
//!
//! Each step has a key: what is below, what it does, and the content that it takes. A step whose key is known from an earlier
//! build is not carried out again. Owns what files mean. Refuses to know how layers are kept.

mod archive;

mod context;
mod copy;
mod dockerfile;
mod ignore;
mod merged;
mod options;
mod pattern;
mod recipe;
mod run;
mod stages;
mod steps;
mod whole;

pub use options::BuildOptions;
pub(super) use pattern::matches_path;

#[cfg(test)]
mod tests;
