//! What the pools may take, and for how long.

use std::time::Duration;

use vulcan_api::{IsolationClass, Resources, Runtime};

/// What the pools may take, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolLimits {
    /// Whether anything is kept ready at all. Without, every workload has an instance started for it.
    pub enabled: bool,
    /// The most memory that all idle instances together take, in percent of the machine's.
    pub memory_percent: u32,
    /// Below this much available memory, in percent of the machine's, nothing is started ahead and idle instances are stopped.
    pub memory_available_min_percent: u32,
    /// How many blank instances are kept of each kind that is kept always.
    pub blank_per_kind: u32,
    /// The most blank instances of one kind, however often it is asked for.
    pub blank_max: u32,
    /// How long after the last request for a kind its blank instances are stopped, down to `blank_per_kind` for those that
    /// are kept always and to none for the others.
    pub blank_idle: Duration,
    /// How long a loaded instance waits for its next call.
    pub warm_idle: Duration,
    /// The most instances that are loaded with one owner's one code; calls beyond them get a fresh instance each.
    pub warm_per_key_max: u32,
    /// How many instances are started ahead at once.
    pub refill_concurrency: u32,
    /// Which kinds are kept always, at `resources`; empty takes every one that the backends offer.
    pub blank: Vec<BlankName>,
    /// The size of the instances that are kept always.
    pub resources: Resources,
}

impl PoolLimits {
    /// The most idle instances at once, whatever their memory: each takes a slot of its backend.
    pub const IDLE_MAX: u32 = 256;
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            enabled: true,
            memory_percent: 10,
            memory_available_min_percent: 10,
            // One is taken while the other is being made: whoever tries things out by hand never waits.
            blank_per_kind: 2,
            blank_max: 8,
            blank_idle: Duration::from_secs(300),
            warm_idle: Duration::from_secs(300),
            // More than a laptop has clients: the memory bounds it first.
            warm_per_key_max: 32,
            // Half of the processors stay with what runs.
            refill_concurrency: (crate::host::cpus() / 2).max(1),
            blank: Vec::new(),
            resources: Resources::default(),
        }
    }
}

/// A kind of instance as the operator names it: `isolate:node`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlankName {
    /// The class.
    pub isolation: IsolationClass,
    /// The runtime.
    pub runtime: Runtime,
}
