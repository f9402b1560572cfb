//! What a node is given when it starts.

use std::{path::PathBuf, sync::Arc, time::Duration};

use vulcan_api::{Clock, ImageName, NodeName, Resources, SystemClock};
use vulcan_backend::Backend;

use crate::{ImageOptions, Metrics, PoolLimits, host};

/// What a node is given when it starts.
#[derive(Clone)]
pub struct Options {
    /// Its name.
    pub name: NodeName,
    /// Where its database, its lock and its logs are; owned by one process at a time.
    pub data_dir: PathBuf,
    /// Where compiled programs are kept; may be deleted while no node runs.
    pub cache_dir: PathBuf,
    /// What tells the time of reports and log lines.
    pub clock: Arc<dyn Clock>,
    /// What it isolates with; one per class.
    pub backends: Vec<Arc<dyn Backend>>,
    /// What it may hand out.
    pub capacity: Capacity,
    /// Where it counts.
    pub metrics: Metrics,
    /// How often it does what it does again and again.
    pub intervals: Intervals,
    /// How programs are compiled.
    pub compile: CompileLimits,
    /// What is kept ready.
    pub pools: PoolLimits,
    /// How images are had and kept.
    pub images: ImageOptions,
    /// What benchmarks run beside the classes.
    pub benchmark: BenchmarkOptions,
}

impl Options {
    /// Makes options with every default: the system's clock, 80 % of the machine's memory, 256 instances.
    #[must_use]
    pub fn new(name: NodeName, data_dir: PathBuf, cache_dir: PathBuf, metrics: Metrics) -> Self {
        Self {
            name,
            data_dir,
            cache_dir,
            clock: Arc::new(SystemClock),
            backends: Vec::new(),
            capacity: Capacity::of_machine(),
            metrics,
            intervals: Intervals::default(),
            compile: CompileLimits::default(),
            pools: PoolLimits::default(),
            images: ImageOptions::default(),
            benchmark: BenchmarkOptions::default(),
        }
    }
}

/// What a node may hand out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Memory for instances, in MiB; the sum of their limits stays below it.
    pub mem_mb: u64,
    /// The most instances at once.
    pub instances_max: u32,
}

impl Capacity {
    /// The most instances at once where the operator does not say.
    pub const INSTANCES_MAX: u32 = 256;
    /// The share of the machine's memory for instances where the operator does not say, in percent.
    pub const MEMORY_PERCENT: u64 = 80;

    /// Returns the default for this machine; a memory limit on this process's cgroup counts as the machine's memory.
    #[must_use]
    pub fn of_machine() -> Self {
        Self {
            mem_mb: host::memory_mb() * Self::MEMORY_PERCENT / 100,
            instances_max: Self::INSTANCES_MAX,
        }
    }
}

/// What benchmarks run beside the classes that the machine does not have by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BenchmarkOptions {
    /// The socket of a Docker whose `docker run` is measured, too. None is asked where it is `None`: who can write to such a
    /// socket has the machine.
    pub docker_socket: Option<PathBuf>,
    /// The image that it runs `true` in; it must be in that Docker already.
    pub docker_image: ImageName,
}

impl Default for BenchmarkOptions {
    fn default() -> Self {
        Self {
            docker_socket: None,
            docker_image: "busybox".parse().expect("a repository is a name"),
        }
    }
}

/// How often a node does what it does again and again, and how long it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intervals {
    /// From one report on the node as a whole to the next.
    pub status: Duration,
    /// From one look at the backends to the next.
    pub probe: Duration,
    /// How long a workload may take before it is reported as running. A shorter one sends a single report, its end.
    pub running_after: Duration,
    /// The pause before an end that was not acknowledged is reported again; it doubles up to `resend_max`.
    pub resend_min: Duration,
    /// The longest pause between two reports of the same end.
    pub resend_max: Duration,
    /// How long an end that is not acknowledged is kept in memory alone.
    pub spill_after: Duration,
    /// How long a drain waits for acknowledgements before it stores what is not acknowledged.
    pub acknowledge: Duration,
    /// How long a stop of an instance may take before the node goes on without it.
    pub stop: Duration,
    /// How long a workload waits for its image, however slowly its registry sends.
    pub image: Duration,
}

impl Default for Intervals {
    fn default() -> Self {
        Self {
            status: Duration::from_secs(5),
            probe: Duration::from_secs(30),
            running_after: Duration::from_millis(50),
            resend_min: Duration::from_millis(500),
            resend_max: Duration::from_secs(15),
            spill_after: Duration::from_secs(5),
            acknowledge: Duration::from_secs(1),
            stop: Duration::from_secs(30),
            image: Duration::from_secs(600),
        }
    }
}

/// How programs are compiled: always in an instance, never on the host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CompileLimits {
    /// The least that a compiling instance gets; a workload with larger limits lends them. `timeout_s` is the compiler's own.
    pub resources: Resources,
    /// The largest executable that is taken out of an instance, in bytes.
    pub executable_bytes_max: usize,
    /// How much disk the cache may use, in bytes; the least recently used goes first.
    pub cache_bytes_max: u64,
    /// How many compilers run at once. Their memory is counted as used and never waited for, so that workloads that wait for
    /// a compiler cannot hold the memory that it needs: the budget may be exceeded by this many compilers.
    pub concurrent_max: usize,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            // Measured by others: the Go linker needs several hundred MiB and a thread per processor and package.
            resources: Resources {
                cpus: 2.0,
                mem_mb: 1024,
                disk_mb: 512,
                pids: 256,
                timeout_s: 120.0,
            },
            executable_bytes_max: 128 << 20,
            cache_bytes_max: 2 << 30,
            concurrent_max: 2,
        }
    }
}
