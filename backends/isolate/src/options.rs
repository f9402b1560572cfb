//! What the operator may set.

use std::{path::PathBuf, time::Duration};

/// What the operator may set of the isolate class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Names the part of the host's cgroups that belongs to this backend: the same after a restart, so that leftovers are
    /// found, and another for every other server on the host. Letters, digits and '-'. The sandbox's may be the same.
    pub owner: String,
    /// Deno's executable; `None` to look for it below [`Self::data_dir`] and on `PATH`.
    pub deno: Option<PathBuf>,
    /// The server's data directory, where `npm install --prefix <data_dir>/deno deno` puts Deno.
    pub data_dir: Option<PathBuf>,
    /// As root: the first of the host's user ids that instances run under, each slot with one of its own. The ids up to
    /// `outer_id_first + slots_max` must belong to nobody, and not to the sandbox class either.
    pub outer_id_first: u32,
    /// The most instances at once.
    pub slots_max: u32,
    /// How many slots are kept while nothing runs in them; one takes about 0.5 MB and saves some 10 ms.
    pub slots_idle_max: usize,
    /// How many slots are made ahead, in the background of the first start.
    pub slots_ready_min: usize,
    /// How long a start may take.
    pub start_deadline: Duration,
    /// Open files of one process.
    pub open_files_max: u64,
    /// Files and folders in the writable space, per MiB of it.
    pub inodes_per_mb: u64,
}

impl Options {
    /// Returns the defaults for an owner.
    #[must_use]
    pub fn new(owner: impl Into<String>) -> Self {
        Self {
            owner: owner.into(),
            deno: None,
            data_dir: None,
            // A hundred thousand above the sandbox's.
            outer_id_first: 1_900_100_000,
            slots_max: 1024,
            slots_idle_max: 16,
            slots_ready_min: 2,
            start_deadline: Duration::from_secs(10),
            open_files_max: 256,
            inodes_per_mb: 256,
        }
    }
}
