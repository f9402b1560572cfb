//! What the operator may set.

use std::{path::PathBuf, time::Duration};

/// What the operator may set of the sandbox class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Names the part of the host's cgroups that belongs to this backend: the same after a restart, so that leftovers are
    /// found, and another for every other server on the host. Letters, digits and '-'.
    pub owner: String,
    /// As root: the first of the host's user ids that instances run under, each slot with one of its own. The ids up to
    /// `outer_id_first + slots_max` must belong to nobody.
    pub outer_id_first: u32,
    /// The most instances at once.
    pub slots_max: u32,
    /// How many slots are kept while nothing runs in them; one takes about 0.5 MB and saves some 10 ms.
    pub slots_idle_max: usize,
    /// How many slots are made ahead, in the background of the first start.
    pub slots_ready_min: usize,
    /// Folders and files of the host that programs may read and execute, beside `/usr`.
    pub readable: Vec<PathBuf>,
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
            // Above what systemd gives to containers (524288 to 1879048191) and below 2^31.
            outer_id_first: 1_900_000_000,
            slots_max: 1024,
            slots_idle_max: 16,
            slots_ready_min: 4,
            readable: Vec::new(),
            start_deadline: Duration::from_secs(10),
            open_files_max: 1024,
            inodes_per_mb: 256,
        }
    }
}
