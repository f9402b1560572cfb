//! Builds static binaries of this workspace from build scripts, so that they can be embedded.
//!
//! The guest agent runs where no library of the host is, so it is linked whole (`+crt-static`, gnu target: the musl target
//! is not needed). Owns the nested `cargo build`: its flags, its own target folder (the outer build holds the lock of the
//! usual one), its clean environment, and the lines that tell the outer cargo when to run it again. Refuses to know what the
//! binaries do.

mod build;
mod dep_info;
mod environment;

pub use build::static_binary;
