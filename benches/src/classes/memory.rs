//! The memory of a blank isolate: of a process that was started ahead and never ran code, read from outside.

use std::{fs, time::Duration};

use serde::Serialize;
use tokio::time::Instant;

use crate::{leftovers::family, sample::Sample};

/// How long the pool may take to be filled.
const FILL_LIMIT: Duration = Duration::from_secs(10);
const FILL_PERIOD: Duration = Duration::from_millis(250);
/// The most that one may take, in MiB.
const WANTED_MB: f64 = 14.0;

/// What blank isolates take.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Blank {
    /// How many were looked at.
    pub(crate) count: usize,
    /// The median of their private memory, in MiB.
    pub(crate) private_mb: f64,
    /// The most that it may be.
    pub(crate) wanted_mb: f64,
}

/// Reads the memory of every Deno process below a server whose workloads are over; `None` when none comes up.
///
/// Nothing was run yet that is kept, so that all of them are blank.
pub(super) async fn blank(server: u32) -> Option<Blank> {
    let deadline = Instant::now() + FILL_LIMIT;
    loop {
        // Twice, so that none is in the middle of its start.
        let before = readings(server);
        tokio::time::sleep(FILL_PERIOD).await;
        let now = readings(server);
        if !now.is_empty() && now == before {
            let mut sample = Sample::default();
            now.iter().for_each(|reading| sample.push(reading.1));
            return Some(Blank {
                count: now.len(),
                private_mb: sample.median(),
                wanted_mb: WANTED_MB,
            });
        }
        if Instant::now() >= deadline {
            return None;
        }
    }
}

fn readings(server: u32) -> Vec<(u32, f64)> {
    let is_deno =
        |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "deno");
    let pids = family(server).into_iter().filter(is_deno);
    pids.filter_map(|pid| Some((pid, private_mb(pid)?))).collect()
}

/// Adds up what a process has for itself (man 5 proc_pid_smaps).
fn private_mb(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let kib = |name: &str| -> Option<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    };
    Some((kib("Private_Clean:")? + kib("Private_Dirty:")?) / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_of_its_own() {
        assert!(private_mb(std::process::id()).unwrap() > 0.0);
        assert_eq!(private_mb(u32::MAX), None);
    }
}
