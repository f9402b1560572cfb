//! What a backend decides about its slots.

use std::{path::PathBuf, time::Duration};

use vulcan_api::Resources;
use vulcan_host::{ProcessLimits, cgroup::Limits, launcher::Launch};

const MIB: u64 = 1024 * 1024;

/// What a backend decides about its slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotOptions {
    /// Names the part of the host's cgroups that belongs to the pool: the same after a restart, so that leftovers are found,
    /// and another for every other pool on the host. Letters, digits and '-'.
    pub group: String,
    /// What a slot is called in errors: "sandbox slots".
    pub noun: &'static str,
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
    /// What the instance itself needs.
    pub overhead: Overhead,
    /// For slots of bundles: how many user ids each has, from `outer_id_first` on, instead of one. Needs root.
    pub bundle_ids: Option<u32>,
}

/// What launcher, guest and kernel need beside the program; given on top of the workload's own limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overhead {
    /// Of the cgroup's memory.
    pub bytes: u64,
    /// Processes and threads.
    pub pids: u32,
    /// More processes and threads, until the guest has spoken: what it takes to start it.
    pub pids_at_start: u32,
    /// At least so many processors until the guest has spoken: what starts it takes more than one at a time, and nothing of the
    /// workload runs yet. 0 leaves it at what was asked for.
    pub cpus_at_start: u32,
    /// Of each process' memory, where the limit is per process for want of a cgroup.
    pub data_bytes: u64,
}

impl SlotOptions {
    /// Returns what the launcher is asked for.
    pub(crate) fn launch(&self, resources: &Resources, has_memory_group: bool) -> Launch {
        let scratch_bytes = u64::from(resources.disk_mb) * MIB;
        Launch {
            hostname: "vulcan".to_owned(),
            scratch_bytes,
            scratch_inodes: u64::from(resources.disk_mb) * self.inodes_per_mb,
            limits: ProcessLimits {
                open_files: self.open_files_max,
                file_bytes: scratch_bytes,
                processes: u64::from(resources.pids + self.overhead.pids),
                data_bytes: (!has_memory_group)
                    .then_some(u64::from(resources.mem_mb) * MIB + self.overhead.data_bytes),
            },
        }
    }

    /// Returns the limits of the slot's cgroup until the guest has spoken.
    pub(crate) fn limits_at_start(&self, resources: &Resources) -> Limits {
        let limits = self.limits(resources);
        Limits {
            pids: limits.pids + self.overhead.pids_at_start,
            cpus: limits.cpus.max(f64::from(self.overhead.cpus_at_start)),
            ..limits
        }
    }

    /// Returns whether a start has other limits than what comes behind it.
    pub(crate) const fn has_limits_at_start(&self) -> bool {
        self.overhead.pids_at_start > 0 || self.overhead.cpus_at_start > 0
    }

    /// Returns the limits of the slot's cgroup.
    pub(crate) fn limits(&self, resources: &Resources) -> Limits {
        Limits {
            memory_bytes: u64::from(resources.mem_mb) * MIB + self.overhead.bytes,
            cpus: resources.cpus,
            pids: resources.pids + self.overhead.pids,
        }
    }
}
