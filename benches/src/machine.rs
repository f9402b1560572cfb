//! The machine that the numbers belong to.

use std::fs;

use serde::Serialize;

/// One line about the machine.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    /// When, as the caller said.
    pub(crate) date: String,
    /// Which commit, as the caller said.
    pub(crate) commit: String,
    /// The processor's model, and how many there are.
    pub(crate) cpu: String,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// Whether root measured.
    pub(crate) is_root: bool,
}

impl Machine {
    /// Looks at this machine.
    pub(crate) fn here(date: &str, commit: &str) -> Self {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let models: Vec<&str> = cpus
            .lines()
            .filter_map(|line| Some(line.strip_prefix("model name")?.split_once(": ")?.1))
            .collect();
        let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            date: date.to_owned(),
            commit: commit.to_owned(),
            cpu: format!("{count} × {}", models.first().unwrap_or(&"unknown processor")),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            is_root: rustix::process::geteuid().is_root(),
        }
    }
}
