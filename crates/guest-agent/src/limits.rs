//! How much of anything the agent holds.

use std::time::Duration;

/// Requests that are open at once.
pub(crate) const CHANNELS_MAX: usize = 64;
/// Bytes for the host above which no program's output is read.
pub(crate) const OUT_BYTES_MAX: usize = 256 * 1024;
/// Bytes for the host above which nothing more is taken from the host: only its own requests can bring it about.
pub(crate) const OUT_BYTES_STOP: usize = 1024 * 1024;
/// Standard input of a command above which nothing is taken from the host until the command reads.
pub(crate) const STDIN_BYTES_MAX: usize = 1024 * 1024;
/// The largest archive, packed, and the largest input: both are held in memory.
pub(crate) const UPLOAD_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Entries of one archive.
pub(crate) const ENTRIES_MAX: usize = 65_536;
/// Folders above one file.
pub(crate) const DEPTH_MAX: usize = 64;
/// What a shim may say of a failure.
pub(crate) const REPORT_BYTES_MAX: usize = 512 * 1024;
/// How long the pipes of an ended program may be held open by processes that escaped its group.
pub(crate) const LINGER: Duration = Duration::from_millis(200);
/// Processes that are reaped before anything else gets its turn.
pub(crate) const REAPED_MAX: usize = 256;
