//! What an operator says of builds.

use vulcan_api::Resources;

/// What builds, and each of their `RUN` steps, may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildOptions {
    /// Processors of a step.
    pub step_cpus: u16,
    /// Memory of a step in MiB.
    pub step_mem_mb: u32,
    /// What a step may write, in MiB; measured while it runs.
    pub step_disk_mb: u32,
    /// Processes and threads of a step.
    pub step_pids: u32,
    /// When a step is ended, in seconds.
    pub step_timeout_s: u32,
    /// The most layers of an image that is built: overlayfs takes 128 in all.
    pub layers_max: usize,
}

impl Default for BuildOptions {
    fn default() -> Self {
        Self {
            step_cpus: 2,
            step_mem_mb: 2048,
            step_disk_mb: 8192,
            step_pids: 1024,
            step_timeout_s: 1800,
            layers_max: 120,
        }
    }
}

impl BuildOptions {
    /// Returns what the instance of a step gets.
    pub(super) fn step(&self) -> Resources {
        Resources {
            cpus: f64::from(self.step_cpus),
            mem_mb: self.step_mem_mb,
            disk_mb: self.step_disk_mb,
            pids: self.step_pids,
            timeout_s: f64::from(self.step_timeout_s),
        }
    }
}
