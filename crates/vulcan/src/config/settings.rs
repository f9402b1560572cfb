//! The settings, typed, with their defaults.

use std::{path::PathBuf, time::Duration};

use vulcan_api::{IsolationClass, NodeName, ResourceLimits, Resources};

use super::{
    classes::{IsolateSettings, SandboxSettings, WasmSettings},
    images::ImageSettings,
};

/// Everything that an operator may decide.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The server as a whole.
    pub server: Server,
    /// What is kept of workloads that are over.
    pub records: Records,
    /// What a workload gets by default, and the most that one may ask for.
    pub limits: ResourceLimits,
    /// The weakest class that `auto` may choose.
    pub isolation_floor: IsolationClass,
    /// The other limits of a workload.
    pub(crate) workload: WorkloadLimits,
    /// The node.
    pub(crate) node: NodeSettings,
    /// Compiling programs.
    pub(crate) compile: vulcan_node::CompileLimits,
    /// What is kept ready; the size of it is that of `limits.default`.
    pub(crate) pools: vulcan_node::PoolLimits,
    /// The sandbox class.
    pub(crate) sandbox: SandboxSettings,
    /// The isolate class.
    pub(crate) isolate: IsolateSettings,
    /// The wasm class.
    pub(crate) wasm: WasmSettings,
    /// The container class; its owner and its number of slots come from elsewhere.
    pub(crate) container: vulcan_backend_oci::Options,
    /// The gvisor class; the same.
    pub(crate) gvisor: vulcan_backend_oci::Options,
    /// Images.
    pub(crate) images: ImageSettings,
    /// What benchmarks run beside the classes.
    pub(crate) benchmark: vulcan_node::BenchmarkOptions,
}

/// The server as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where to listen, as HOST:PORT.
    pub listen: String,
    /// Where records and logs are kept; `None` is the default of the user.
    pub data_dir: Option<PathBuf>,
    /// Where what can be made again is kept; `None` is the default of the user.
    pub cache_dir: Option<PathBuf>,
    /// How long the first signal waits for workloads.
    pub drain_timeout: Duration,
    /// The largest body of a request.
    pub body_bytes_max: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// Names with a dot under which the server may be addressed.
    pub public_hosts: Vec<String>,
    /// How many workloads may wait for a node.
    pub queue_len_max: usize,
    /// How long a repeat of a request finds the first workload.
    pub idempotency_key_lifetime: Duration,
    /// The most bytes that the database file may have.
    pub database_bytes_max: Option<u64>,
}

/// What is kept of workloads that are over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Records {
    /// For how long.
    pub keep_for: Duration,
    /// How many.
    pub records_max: u64,
    /// How often it is looked for what is older or more.
    pub sweep_every: Duration,
}

/// The limits of a workload that are no resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WorkloadLimits {
    pub(crate) output_bytes_max: usize,
    pub(crate) log_bytes_max: u64,
    pub(crate) input_bytes_max: usize,
    pub(crate) archive_entries_max: usize,
}

/// The node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeSettings {
    /// Its name; `None` is the host's.
    pub(crate) name: Option<NodeName>,
    pub(crate) capacity: vulcan_node::Capacity,
    pub(crate) intervals: vulcan_node::Intervals,
}

impl Default for Config {
    fn default() -> Self {
        // One source of defaults: the options of the rooms themselves.
        let control = vulcan_control::Options::new(PathBuf::new());
        Self {
            server: Server {
                listen: "127.0.0.1:7070".to_owned(),
                data_dir: None,
                cache_dir: None,
                drain_timeout: Duration::from_secs(30),
                body_bytes_max: control.body_bytes_max,
                body_timeout: control.body_timeout,
                public_hosts: control.public_hosts,
                queue_len_max: control.queue_len_max,
                idempotency_key_lifetime: control.idempotency_key_lifetime,
                database_bytes_max: control.database_bytes_max,
            },
            records: Records {
                keep_for: control.retention.keep_for,
                records_max: control.retention.records_max,
                sweep_every: control.retention.sweep_every,
            },
            limits: control.limits,
            isolation_floor: control.isolation_floor,
            workload: WorkloadLimits {
                output_bytes_max: control.output_bytes_max,
                log_bytes_max: control.log_bytes_max,
                input_bytes_max: control.input_bytes_max,
                archive_entries_max: control.archive_entries_max,
            },
            node: NodeSettings {
                name: None,
                capacity: vulcan_node::Capacity::of_machine(),
                intervals: vulcan_node::Intervals::default(),
            },
            compile: vulcan_node::CompileLimits::default(),
            pools: vulcan_node::PoolLimits::default(),
            sandbox: SandboxSettings::default(),
            isolate: IsolateSettings::default(),
            wasm: WasmSettings::default(),
            container: vulcan_backend_oci::Options::new(""),
            gvisor: vulcan_backend_oci::Options::new(""),
            images: ImageSettings::default(),
            benchmark: vulcan_node::BenchmarkOptions::default(),
        }
    }
}

impl Config {
    /// Returns the control plane's options, with its records in `data_dir`.
    #[must_use]
    pub fn control_options(&self, data_dir: PathBuf) -> vulcan_control::Options {
        vulcan_control::Options {
            limits: self.limits,
            isolation_floor: self.isolation_floor,
            output_bytes_max: self.workload.output_bytes_max,
            log_bytes_max: self.workload.log_bytes_max,
            input_bytes_max: self.workload.input_bytes_max,
            archive_entries_max: self.workload.archive_entries_max,
            queue_len_max: self.server.queue_len_max,
            body_bytes_max: self.server.body_bytes_max,
            body_timeout: self.server.body_timeout,
            upload_bytes_max: self.images.upload_bytes_max,
            public_hosts: self.server.public_hosts.clone(),
            retention: vulcan_control::Retention {
                keep_for: self.records.keep_for,
                records_max: self.records.records_max,
                sweep_every: self.records.sweep_every,
            },
            idempotency_key_lifetime: self.server.idempotency_key_lifetime,
            database_bytes_max: self.server.database_bytes_max,
            ..vulcan_control::Options::new(data_dir)
        }
    }

    /// Returns the node's name where it is set.
    #[must_use]
    pub(crate) fn node_name(&self) -> Option<NodeName> {
        self.node.name.clone()
    }

    /// Returns the node's options, without its backends.
    #[must_use]
    pub(crate) fn node_options(
        &self,
        name: NodeName,
        data_dir: PathBuf,
        cache_dir: PathBuf,
        metrics: vulcan_node::Metrics,
    ) -> vulcan_node::Options {
        vulcan_node::Options {
            capacity: self.node.capacity,
            intervals: self.node.intervals,
            compile: self.compile,
            pools: self.pool_limits(),
            images: self.image_options(),
            benchmark: self.benchmark.clone(),
            ..vulcan_node::Options::new(name, data_dir, cache_dir, metrics)
        }
    }

    /// Returns what is kept ready: instances of the size that a workload gets which asks for none.
    #[must_use]
    pub(crate) fn pool_limits(&self) -> vulcan_node::PoolLimits {
        vulcan_node::PoolLimits {
            resources: self.limits.default,
            ..self.pools.clone()
        }
    }

    /// Returns how many instances there can be at once of one class: those of workloads, compilers, and idle ones.
    #[must_use]
    pub(crate) fn slots_max(&self) -> u32 {
        let compilers = u32::try_from(self.compile.concurrent_max).unwrap_or(u32::MAX);
        let idle = if self.pools.enabled {
            // A refill takes its slot before the one that it replaces is gone.
            vulcan_node::PoolLimits::IDLE_MAX.saturating_add(self.pools.refill_concurrency)
        } else {
            0
        };
        let workloads = self.node.capacity.instances_max;
        workloads.saturating_add(compilers).saturating_add(idle)
    }

    /// Says what does not fit together, in words that name the keys.
    pub(super) fn contradiction(&self) -> Option<String> {
        let (min, default, max) = (ResourceLimits::MIN, self.limits.default, self.limits.max);
        let rows: [(&str, Measure); 5] = [
            ("cpus", |r| r.cpus),
            ("mem", |r| f64::from(r.mem_mb)),
            ("disk", |r| f64::from(r.disk_mb)),
            ("pids", |r| f64::from(r.pids)),
            ("timeout", |r| r.timeout_s),
        ];
        for (name, of) in rows {
            if of(&default) > of(&max) {
                return Some(format!("limits.default.{name} is larger than limits.max.{name}"));
            }
            if of(&default) < of(&min) {
                return Some(format!(
                    "limits.default.{name} is smaller than {}, the least that starts anything",
                    of(&min)
                ));
            }
        }
        if self.pools.blank_per_kind > self.pools.blank_max {
            return Some("pools.blank_per_kind is larger than pools.blank_max".to_owned());
        }
        let zeros = [
            ("server.queue_max", self.server.queue_len_max == 0),
            ("server.body_max", self.server.body_bytes_max == 0),
            ("node.instances_max", self.node.capacity.instances_max == 0),
            ("records.sweep_every", self.records.sweep_every.is_zero()),
            ("node.status_every", self.node.intervals.status.is_zero()),
            ("node.probe_every", self.node.intervals.probe.is_zero()),
            ("compile.concurrent_max", self.compile.concurrent_max == 0),
            ("pools.memory_percent", self.pools.memory_percent == 0),
            ("pools.warm_per_key_max", self.pools.warm_per_key_max == 0),
            ("pools.refill_concurrency", self.pools.refill_concurrency == 0),
            ("wasm.threads", self.wasm.threads == 0),
            ("images.pulls_at_once", self.images.store.pulls_at_once == 0),
            ("images.stall", self.images.store.stall_s == 0),
            ("images.attempts_max", self.images.store.attempts_max == 0),
            ("container.ids_per_instance", self.container.ids_per_slot == 0),
            ("gvisor.ids_per_instance", self.gvisor.ids_per_slot == 0),
        ];
        zeros
            .into_iter()
            .find(|(_, is_zero)| *is_zero)
            .map(|(key, _)| format!("{key} must not be 0"))
    }
}

/// Takes one resource as a number, to compare.
type Measure = fn(&Resources) -> f64;

/// Hashes a text (FNV-1a, 64 bits): the same in every version of the program, so that leftovers are found again.
pub(crate) fn stable_hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
