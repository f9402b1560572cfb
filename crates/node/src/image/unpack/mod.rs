//! Unpacking archives that somebody else made: layers of images, contexts of builds.
//!
//! ```text
//! packed bytes ──decompress, on a thread of its own──▶ tar ──hash──▶ entries ──check──▶ files below one folder
//! ```
//!
//! Nothing outside of the folder is touched, whatever the archive says: every path is looked up by the kernel with
//! `openat2(RESOLVE_IN_ROOT)`, so that links are followed as a process with that root would. Size, entries, depth and
//! lengths are limited, and a bomb is stopped while it unpacks.

mod decompress;
mod entries;
mod error;
mod place;
mod tree;

pub(crate) use decompress::{Packed, Unpacked, media_type_of, plain, read_packed, unpack};
pub(crate) use error::UnpackError;
pub(crate) use tree::{Meaning, UnpackLimits};
