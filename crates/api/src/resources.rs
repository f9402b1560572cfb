//! How much of the machine one workload may use.

use serde::{Deserialize, Serialize};

/// What a request asks for; whatever is left out takes the operator's default.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourcesRequest {
    /// Processors, as a fraction or a multiple of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    /// Memory in MiB, without swap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem_mb: Option<u32>,
    /// Writable disk space in MiB, for /work, /tmp and /dev/shm together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_mb: Option<u32>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// Wall-clock seconds until everything in the instance is killed. They count from handing over the program: waiting for an
    /// image that is pulled is not in them, and ends by `images.stall` and `images.attempts_max` of the operator, or after ten minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<f64>,
}

/// What one workload gets: every field decided.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Processors, as a fraction or a multiple of one.
    pub cpus: f64,
    /// Memory in MiB, without swap; what is written to the instance's disk space counts too.
    pub mem_mb: u32,
    /// Writable disk space in MiB, for /work, /tmp and /dev/shm together.
    pub disk_mb: u32,
    /// Processes and threads.
    pub pids: u32,
    /// Wall-clock seconds until everything in the instance is killed. They count from handing over the program: waiting for an
    /// image that is pulled is not in them, and ends by `images.stall` and `images.attempts_max` of the operator, or after ten minutes.
    pub timeout_s: f64,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            cpus: 1.0,
            mem_mb: 128,
            disk_mb: 64,
            pids: 128,
            timeout_s: 30.0,
        }
    }
}

/// The operator's bounds: what a request gets by default, and the most that it may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResourceLimits {
    /// What a request gets that asks for nothing.
    pub default: Resources,
    /// The most that a request may ask for.
    pub max: Resources,
}

impl ResourceLimits {
    /// The least that a request may ask for: less than this starts nothing useful.
    pub const MIN: Resources = Resources {
        cpus: 0.01,
        mem_mb: 8,
        disk_mb: 1,
        pids: 4,
        timeout_s: 0.001,
    };
}

impl Default for ResourceLimits {
    fn default() -> Self {
        Self {
            default: Resources::default(),
            max: Resources {
                cpus: 64.0,
                mem_mb: 16_384,
                disk_mb: 8_192,
                pids: 4_096,
                timeout_s: 3_600.0,
            },
        }
    }
}
