//! WASI preview 1 over the instance's own files: no call of it reaches a file, a socket or a process of the host.
//!
//! What the host gives is time, random numbers, and the way of the output to the log.
//! Source: the witx files of wasi_snapshot_preview1.

mod abi;
mod descriptors;
mod file;
mod memory;
mod offer;
mod path;
mod process;
mod state;
mod stream;

pub(crate) use offer::{OFFERED, offer};
pub(crate) use state::{Exit, OutOfMemory, State, Wasi, WasiParts};
