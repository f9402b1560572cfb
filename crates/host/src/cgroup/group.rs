//! One group.

use std::{io, time::Duration};

use super::{v1, v2};

/// What a group may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Memory in bytes; swap is not given at all.
    pub memory_bytes: u64,
    /// Processors, as a fraction or a multiple of one.
    pub cpus: f64,
    /// Processes and threads.
    pub pids: u32,
}

/// What a group used since the last [`Group::begin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupUsage {
    /// Processor time, user and system.
    pub cpu_time: Duration,
    /// The most memory at once, in bytes; `None` where the kernel cannot tell.
    pub memory_peak_bytes: Option<u64>,
    /// How many processes the kernel killed because the group had no memory left.
    pub oom_kills: u64,
}

/// Raw counters, as the kernel has them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counters {
    pub(super) cpu_time: Duration,
    pub(super) memory_peak_bytes: Option<u64>,
    pub(super) oom_kills: u64,
}

#[derive(Debug)]
pub(super) enum GroupKind {
    V1(v1::GroupFiles),
    V2(v2::GroupFiles),
}

/// A control group. Dropping it leaves it: see [`Group::remove`].
#[derive(Debug)]
pub struct Group {
    kind: GroupKind,
    limits: Option<Limits>,
    at_begin: Counters,
}

impl Group {
    pub(super) fn new(kind: GroupKind) -> Self {
        Self {
            kind,
            limits: None,
            at_begin: Counters::default(),
        }
    }

    /// Puts a process into the group; what it starts from now on is in it too.
    ///
    /// # Errors
    ///
    /// What the operating system said.
    pub fn attach(&self, pid: u32) -> io::Result<()> {
        match &self.kind {
            GroupKind::V1(files) => files.attach(pid),
            GroupKind::V2(files) => files.attach(pid),
        }
    }

    /// Sets limits and starts measuring anew. Limits that are as before cost nothing.
    ///
    /// # Errors
    ///
    /// What the operating system said; the group must not be used then.
    pub fn begin(&mut self, limits: &Limits) -> io::Result<()> {
        if self.limits.as_ref() != Some(limits) {
            self.limits = None;
            match &self.kind {
                GroupKind::V1(files) => files.set_limits(limits)?,
                GroupKind::V2(files) => files.set_limits(limits)?,
            }
            self.limits = Some(*limits);
        }
        match &mut self.kind {
            GroupKind::V1(files) => files.reset_peak()?,
            GroupKind::V2(files) => files.reset_peak(),
        }
        self.at_begin = self.counters()?;
        Ok(())
    }

    /// Returns what was used since [`Group::begin`].
    ///
    /// # Errors
    ///
    /// What the operating system said.
    pub fn usage(&self) -> io::Result<GroupUsage> {
        let now = self.counters()?;
        Ok(GroupUsage {
            cpu_time: now.cpu_time.saturating_sub(self.at_begin.cpu_time),
            memory_peak_bytes: now.memory_peak_bytes,
            oom_kills: now.oom_kills.saturating_sub(self.at_begin.oom_kills),
        })
    }

    /// Returns the processes in the group.
    ///
    /// # Errors
    ///
    /// What the operating system said.
    pub fn pids(&self) -> io::Result<Vec<u32>> {
        match &self.kind {
            GroupKind::V1(files) => files.pids(),
            GroupKind::V2(files) => files.pids(),
        }
    }

    /// Kills what is in the group, and removes it. Blocks for up to two seconds.
    ///
    /// # Errors
    ///
    /// What the operating system said; a part of the group may be left.
    pub fn remove(&self) -> io::Result<()> {
        match &self.kind {
            GroupKind::V1(files) => files.remove(),
            GroupKind::V2(files) => files.remove(),
        }
    }

    fn counters(&self) -> io::Result<Counters> {
        match &self.kind {
            GroupKind::V1(files) => files.counters(),
            GroupKind::V2(files) => files.counters(),
        }
    }
}

/// Reads the processes of one folder.
pub(super) fn read_pids(folder: &std::path::Path) -> io::Result<Vec<u32>> {
    let text = std::fs::read_to_string(folder.join("cgroup.procs"))?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

/// Finds the number behind a key in a file of `key value` lines.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Returns a processor share as microseconds per period; the kernel takes no less than 1 ms.
pub(super) fn quota_us(cpus: f64) -> u64 {
    const QUOTA_US_MIN: f64 = 1_000.0;
    let quota = (cpus * PERIOD_US as f64).max(QUOTA_US_MIN);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at least 1,000, rounded"
    )]
    let quota = quota.round() as u64;
    quota
}

/// The period over which processor time is shared out: the kernel's default.
pub(super) const PERIOD_US: u32 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tiny_share_of_a_processor_is_what_the_kernel_takes() {
        assert_eq!(
            [0.001, 0.01, 0.5, 2.0].map(quota_us),
            [1_000, 1_000, 50_000, 200_000]
        );
    }

    #[test]
    fn a_key_is_not_taken_for_a_longer_one() {
        assert_eq!(
            keyed("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n", "oom_kill"),
            Some(7)
        );
    }
}
