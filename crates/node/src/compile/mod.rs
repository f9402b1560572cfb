//! Compiled programs: each source is compiled once, in an instance, and kept by its digest.
//!
//! Owns the folder `go` of the cache directory. No compiler ever runs on the host.

mod cache;
mod compiler;
mod run;

pub(crate) use compiler::{CompileError, CompileRequest, Compiler};
