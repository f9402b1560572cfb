//! What a node counts. No ids in labels; every label comes from a closed set.

use std::{fmt, sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use vulcan_api::{IsolationClass, Runtime, StartKind};

use crate::{Capacity, admission::Used, pool::Reason};

/// What a node counts; clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    start_seconds: Family<StartLabels, Histogram, fn() -> Histogram>,
    run_seconds: Family<CodeLabels, Histogram, fn() -> Histogram>,
    instances: Family<InstanceLabels, Gauge>,
    memory: Family<CodeLabels, Histogram, fn() -> Histogram>,
    capacity_memory: Gauge<f64, AtomicU64>,
    capacity_memory_used: Gauge<f64, AtomicU64>,
    capacity_instances: Gauge,
    capacity_instances_used: Gauge,
    logs_truncated: Counter,
    pools: PoolMetrics,
}

/// What the pools count.
#[derive(Debug, Clone)]
struct PoolMetrics {
    hits: Family<StartLabels, Counter>,
    misses: Family<StartLabels, Counter>,
    refill_seconds: Family<CodeLabels, Histogram, fn() -> Histogram>,
    evictions: Family<ReasonLabels, Counter>,
    memory: Gauge<f64, AtomicU64>,
    memory_max: Gauge<f64, AtomicU64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: Label,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    isolation: Label,
    runtime: Label,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StartLabels {
    isolation: Label,
    runtime: Label,
    start: Label,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InstanceLabels {
    isolation: Label,
    runtime: Label,
    state: Label,
}

/// A label's value from a closed set, without a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Label(&'static str);

impl EncodeLabelValue for Label {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.encode(encoder)
    }
}

/// What kind of code runs under what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) isolation: IsolationClass,
    pub(crate) runtime: Runtime,
}

/// What an instance does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum InstanceState {
    /// Waits, and never ran code.
    Blank,
    /// Waits with loaded code.
    Warm,
    Running,
    Stopping,
}

impl InstanceState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Blank => "blank",
            Self::Warm => "warm",
            Self::Running => "running",
            Self::Stopping => "stopping",
        }
    }
}

impl Metrics {
    /// Makes a node's metrics and registers them under `vulcan_…`; once per registry.
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("vulcan");
        let metrics = Self::new();
        let help = "Seconds until the instance was ready for the program, compiling included";
        registry.register("start_seconds", help, metrics.start_seconds.clone());
        let help = "Seconds from handing over the code until the program's end";
        registry.register("run_seconds", help, metrics.run_seconds.clone());
        registry.register("pool_instances", "Live instances", metrics.instances.clone());
        let help = "The most memory that an instance used at once, at its end";
        registry.register("instance_memory_bytes", help, metrics.memory.clone());
        registry.register(
            "capacity_memory_bytes",
            "Memory for instances",
            metrics.capacity_memory.clone(),
        );
        let help = "Memory promised to live instances";
        registry.register(
            "capacity_memory_used_bytes",
            help,
            metrics.capacity_memory_used.clone(),
        );
        registry.register(
            "capacity_instances",
            "The most instances at once",
            metrics.capacity_instances.clone(),
        );
        let help = "Live instances that count against the capacity";
        registry.register(
            "capacity_instances_used",
            help,
            metrics.capacity_instances_used.clone(),
        );
        let help = "Workloads of whose log a part was dropped";
        registry.register("logs_truncated", help, metrics.logs_truncated.clone());
        metrics.pools.register(registry);
        metrics
    }

    fn new() -> Self {
        // 0.5 ms to 33 s, and 1 ms to 37 min: from the start of a static binary to a compiled program, to the longest run.
        let starts: fn() -> Histogram = || Histogram::new(exponential_buckets(0.0005, 2.0, 17));
        let runs: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 3.0, 14));
        // 1 MiB to 32 GiB.
        let memory: fn() -> Histogram = || Histogram::new(exponential_buckets(f64::from(1 << 20), 2.0, 16));
        Self {
            start_seconds: Family::new_with_constructor(starts),
            run_seconds: Family::new_with_constructor(runs),
            instances: Family::default(),
            memory: Family::new_with_constructor(memory),
            capacity_memory: Gauge::default(),
            capacity_memory_used: Gauge::default(),
            capacity_instances: Gauge::default(),
            capacity_instances_used: Gauge::default(),
            logs_truncated: Counter::default(),
            pools: PoolMetrics::new(),
        }
    }

    /// Shows hits and misses of a kind from the beginning: a counter that appears with its first event has no rate for it.
    pub(crate) fn pool_known(&self, kind: Kind, start: StartKind) {
        let labels = StartLabels::of(kind, start);
        drop(self.pools.hits.get_or_create(&labels));
        drop(self.pools.misses.get_or_create(&labels));
    }

    /// Counts a workload that found an instance that was ready.
    pub(crate) fn pool_hit(&self, kind: Kind, start: StartKind) {
        self.pools.hits.get_or_create(&StartLabels::of(kind, start)).inc();
    }

    /// Counts a workload that could have had such an instance, and found none.
    pub(crate) fn pool_missed(&self, kind: Kind, start: StartKind) {
        self.pools
            .misses
            .get_or_create(&StartLabels::of(kind, start))
            .inc();
    }

    /// Counts an instance that was started ahead.
    pub(crate) fn pool_refilled(&self, kind: Kind, took: Duration) {
        let labels = CodeLabels::of(kind);
        let histogram = self.pools.refill_seconds.get_or_create(&labels);
        histogram.observe(took.as_secs_f64());
    }

    /// Counts an idle instance that was stopped.
    pub(crate) fn pool_evicted(&self, reason: Reason) {
        let reason = Label(reason.as_str());
        self.pools.evictions.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Sets what idle instances are charged, and what they may be.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    pub(crate) fn pool_memory(&self, bytes: u64, max: u64) {
        self.pools.memory.set(bytes as f64);
        self.pools.memory_max.set(max as f64);
    }

    /// Counts an instance that became ready.
    pub(crate) fn started(&self, kind: Kind, start: StartKind, took: Duration) {
        self.start_seconds
            .get_or_create(&StartLabels::of(kind, start))
            .observe(took.as_secs_f64());
    }

    /// Counts a program that ran.
    pub(crate) fn ran(&self, kind: Kind, took: Duration, mem_peak_mb: Option<f64>) {
        let labels = CodeLabels::of(kind);
        self.run_seconds
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
        if let Some(mib) = mem_peak_mb {
            self.memory
                .get_or_create(&labels)
                .observe(mib * f64::from(1 << 20));
        }
    }

    /// Counts a workload of whose log a part was dropped.
    pub(crate) fn log_truncated(&self) {
        self.logs_truncated.inc();
    }

    /// Counts an instance as being in a state, until the returned value is dropped.
    pub(crate) fn instance(&self, kind: Kind, state: InstanceState) -> Counted {
        let labels = InstanceLabels {
            isolation: Label(kind.isolation.as_str()),
            runtime: Label(kind.runtime.as_str()),
            state: Label(state.as_str()),
        };
        let gauge = self.instances.get_or_create_owned(&labels);
        gauge.inc();
        Counted(gauge)
    }

    /// Sets the gauges of the capacity.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a gauge is a float; 2⁵³ MiB is more than any machine has"
    )]
    pub(crate) fn capacity(&self, capacity: Capacity, used: Used) {
        let bytes = |mib: u64| mib as f64 * f64::from(1 << 20);
        self.capacity_memory.set(bytes(capacity.mem_mb));
        self.capacity_memory_used.set(bytes(used.mem_mb));
        self.capacity_instances.set(capacity.instances_max.into());
        self.capacity_instances_used.set(used.instances.into());
    }
}

impl PoolMetrics {
    fn new() -> Self {
        // 0.5 ms to 33 s, as starts.
        let refills: fn() -> Histogram = || Histogram::new(exponential_buckets(0.0005, 2.0, 17));
        Self {
            hits: Family::default(),
            misses: Family::default(),
            refill_seconds: Family::new_with_constructor(refills),
            evictions: Family::default(),
            memory: Gauge::default(),
            memory_max: Gauge::default(),
        }
    }

    fn register(&self, registry: &mut Registry) {
        let help = "Workloads that found an instance that was ready";
        registry.register("pool_hits", help, self.hits.clone());
        let help = "Workloads that could have had an instance that was ready, and found none";
        registry.register("pool_misses", help, self.misses.clone());
        let help = "Seconds that starting an instance ahead took";
        registry.register("pool_refill_seconds", help, self.refill_seconds.clone());
        let help = "Idle instances that were stopped";
        registry.register("pool_evictions", help, self.evictions.clone());
        let help = "Memory that idle instances are charged";
        registry.register("pool_memory_bytes", help, self.memory.clone());
        let help = "The most memory that idle instances may take together";
        registry.register("pool_memory_max_bytes", help, self.memory_max.clone());
    }
}

impl CodeLabels {
    const fn of(kind: Kind) -> Self {
        Self {
            isolation: Label(kind.isolation.as_str()),
            runtime: Label(kind.runtime.as_str()),
        }
    }
}

impl StartLabels {
    const fn of(kind: Kind, start: StartKind) -> Self {
        Self {
            isolation: Label(kind.isolation.as_str()),
            runtime: Label(kind.runtime.as_str()),
            start: Label(start.as_str()),
        }
    }
}

/// Counts one for as long as it lives.
#[derive(Debug)]
pub(crate) struct Counted(Gauge);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
