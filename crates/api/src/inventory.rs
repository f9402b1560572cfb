//! What the platform has: nodes, backends, and counts.

use serde::{Deserialize, Serialize};

use crate::{IsolationClass, NodeName, Runtime, Timestamp};

/// Whether a backend can be used, and what would change that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Readiness {
    /// Everything it promises holds.
    Ready,
    /// It works, and something that it promises does not hold.
    Degraded {
        /// What does not hold, and why; one entry each.
        reasons: Vec<String>,
    },
    /// It cannot start anything.
    Unfit {
        /// What is missing, and how to get it; one entry each.
        reasons: Vec<String>,
    },
}

impl Readiness {
    /// Returns whether instances can be started.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        match self {
            Self::Ready | Self::Degraded { .. } => true,
            Self::Unfit { .. } => false,
        }
    }
}

/// One runtime of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RuntimeInfo {
    /// Which one.
    pub runtime: Runtime,
    /// Whether it can be used now.
    pub available: bool,
    /// The interpreter's version where it is available, otherwise what is missing.
    pub detail: String,
    /// Packages that would make it available: Debian's by their names, with `/release` behind it where that is not the machine's
    /// own, npm's as `npm:name`, images as `image:name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
}

impl RuntimeInfo {
    /// How an image is marked among [`Self::packages`].
    pub const IMAGE: &str = "image:";

    /// Returns whether it can be used now by a workload that names an image, or names none. One that is named makes up for a
    /// default one that is missing.
    #[must_use]
    pub fn is_available(&self, has_image: bool) -> bool {
        let lacks_only_images = || {
            let mut packages = self.packages.iter();
            !self.packages.is_empty() && packages.all(|package| package.starts_with(Self::IMAGE))
        };
        self.available || has_image && lacks_only_images()
    }
}

/// One backend on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BackendInfo {
    /// The class it provides.
    pub isolation: IsolationClass,
    /// Where.
    pub node: NodeName,
    /// Whether it can be used.
    pub readiness: Readiness,
    /// What it can run.
    pub runtimes: Vec<RuntimeInfo>,
    /// What its instances can do beside running code: `exec`, `files`, `pause`, `snapshot`.
    pub abilities: Vec<String>,
    /// What is kept ready; one entry per runtime and size.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<PoolInfo>,
}

/// Instances of one backend, runtime and size that are kept ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PoolInfo {
    /// What they are ready for.
    pub runtime: Runtime,
    /// Their memory limit in MiB.
    pub mem_mb: u32,
    /// Started ahead, never ran code.
    pub blank: u32,
    /// How many of those there are to be.
    pub blank_wanted: u32,
    /// Loaded with somebody's code, waiting for its next call.
    pub warm: u32,
    /// Why none can be started ahead for now, and until when it is not tried again; `None` while all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<String>,
}

/// All backends of all nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BackendList {
    /// One entry per backend and node.
    pub backends: Vec<BackendInfo>,
}

/// How much a node may hand out, and how much of it is in use.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NodeCapacity {
    /// Processors of the machine.
    pub cpus: u32,
    /// Memory for instances, in MiB.
    pub mem_mb: u64,
    /// Memory promised to running instances, in MiB.
    pub mem_used_mb: u64,
    /// The most instances at once.
    pub instances_max: u32,
    /// Instances now.
    pub instances: u32,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NodeInfo {
    /// Its name.
    pub name: NodeName,
    /// Whether it takes workloads.
    pub ready: bool,
    /// The kernel's release.
    pub kernel: String,
    /// The version of its node agent.
    pub version: String,
    /// What it has.
    pub capacity: NodeCapacity,
    /// When it last reported.
    pub seen_at: Timestamp,
    /// When it started.
    pub started_at: Timestamp,
}

/// All nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NodeList {
    /// One entry per node.
    pub nodes: Vec<NodeInfo>,
}

/// How many workloads have each status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StatusCounts {
    /// Accepted, not started.
    pub pending: u64,
    /// Starting or running.
    pub running: u64,
    /// Ended well.
    pub completed: u64,
    /// Failed.
    pub failed: u64,
    /// Killed by somebody.
    pub killed: u64,
    /// Killed at the wall-clock limit.
    pub timed_out: u64,
}

/// The platform at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Stats {
    /// Records by status, over everything that is kept.
    pub workloads: StatusCounts,
    /// Nodes that take workloads.
    pub nodes_ready: u32,
    /// Workloads that ended in the last minute.
    pub finished_last_minute: u64,
    /// Median of `start_ms` over the last 1,000 ended workloads.
    pub start_ms_p50: Option<f64>,
    /// 99th percentile of the same.
    pub start_ms_p99: Option<f64>,
    /// Median of `run_ms` over the same.
    pub run_ms_p50: Option<f64>,
    /// 99th percentile of the same.
    pub run_ms_p99: Option<f64>,
    /// Seconds since the server started.
    pub uptime_s: u64,
    /// The server's version.
    pub version: String,
}
