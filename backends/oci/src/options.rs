//! What the operator may set.

use std::{path::PathBuf, time::Duration};

/// Which runtime starts containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ContainerRuntime {
    /// crun where a trial with it succeeds, which takes half the time, and runc otherwise.
    #[default]
    Any,
    /// crun alone.
    Crun,
    /// runc alone.
    Runc,
}

/// How gVisor gets hold of a program's system calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Platform {
    /// By signals; works everywhere.
    #[default]
    Systrap,
    /// By hardware virtualisation; taken only when a trial with it succeeds within the deadline of starts.
    Kvm,
}

/// What the operator may set of the classes `container` and `gvisor`. Each class takes options of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Names the part of the host's cgroups that belongs to this backend: the same after a restart, so that leftovers are
    /// found, and another for every other server on the host. Letters, digits and '-'. The class is added to it.
    pub owner: String,
    /// A folder of the host's disk or memory for the guest agent's file; made where it is missing, below it one per owner and
    /// class.
    pub run_dir: PathBuf,
    /// Which runtime starts containers.
    pub runtime: ContainerRuntime,
    /// Where crun is.
    pub crun: PathBuf,
    /// Where runc is.
    pub runc: PathBuf,
    /// Where runsc is.
    pub runsc: PathBuf,
    /// How gVisor gets hold of a program's system calls.
    pub platform: Platform,
    /// The first of the host's user and group ids that instances have; `None` for the class' own default. The ids up to
    /// `slots_max` × `ids_per_slot` above it must belong to nobody.
    pub outer_id_first: Option<u32>,
    /// How many user and group ids each instance has; images seldom use more than 65,536.
    pub ids_per_slot: u32,
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
    /// Memory in MiB that an instance gets on top of its own for what runs it; `None` for the class' own default, which is what
    /// was measured: 16 for containers, 96 for gVisor, whose kernel lives in the instance.
    pub overhead_mb: Option<u32>,
    /// System calls by name that containers may make beside the list of the sandbox.
    pub extra_calls: Vec<String>,
}

impl Options {
    /// Returns the defaults for an owner.
    #[must_use]
    pub fn new(owner: impl Into<String>) -> Self {
        Self {
            owner: owner.into(),
            run_dir: "/run/vulcan".into(),
            runtime: ContainerRuntime::Any,
            crun: "/usr/bin/crun".into(),
            runc: "/usr/sbin/runc".into(),
            runsc: "/usr/bin/runsc".into(),
            platform: Platform::Systrap,
            outer_id_first: None,
            ids_per_slot: 65_536,
            slots_max: 1024,
            slots_idle_max: 16,
            slots_ready_min: 4,
            start_deadline: Duration::from_secs(20),
            open_files_max: 1024,
            inodes_per_mb: 256,
            overhead_mb: None,
            extra_calls: Vec::new(),
        }
    }
}
