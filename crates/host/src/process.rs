//! What the kernel tells about a process (man 5 proc_pid_stat).

use std::{fs, time::Duration};

/// Returns a process's parent; `None` when there is no such process.
#[must_use]
pub fn parent_of(pid: u32) -> Option<u32> {
    fields_from_state(pid)?.get(1)?.parse().ok()
}

/// Returns the processor time, user and system, of a process and of all children that it has waited for; `None` when there is
/// no such process.
#[must_use]
pub fn cpu_time_of(pid: u32) -> Option<Duration> {
    // utime, stime, cutime and cstime are fields 14 to 17, the state is field 3.
    let ticks: u64 = fields_from_state(pid)?
        .get(11..15)?
        .iter()
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    let per_second = rustix::param::clock_ticks_per_second();
    let in_ticks = Duration::from_millis(ticks.saturating_mul(1_000) / per_second.max(1));
    Some(in_ticks.max(first_thread_time_of(pid).unwrap_or_default()))
}

/// Returns the processor time of a process' first thread alone, but finer than in ticks: of a process that took less than a
/// tick it is all there is to know (kernel: Documentation/scheduler/sched-stats.rst).
fn first_thread_time_of(pid: u32) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    let nanos = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

/// The most processes that [`family_of`] returns: a guest may have many, and make more while they are counted.
pub const FAMILY_MAX: usize = 4_096;

/// What memory a process takes (man 5 proc_pid_smaps).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcessMemory {
    /// Bytes, with what is shared counted in equal parts for each who shares it.
    pub pss_bytes: u64,
    /// Bytes that are its own alone.
    pub private_bytes: u64,
}

/// Returns a process and all its descendants, at most [`FAMILY_MAX`]; those that come and go meanwhile may be missing.
#[must_use]
pub fn family_of(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(children_of(parent));
        family.truncate(FAMILY_MAX);
        next += 1;
    }
    family
}

/// Returns what memory a process takes; `None` when there is no such process, or it may not be looked at.
#[must_use]
pub fn memory_of(pid: u32) -> Option<ProcessMemory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        kib.checked_mul(1_024)
    };
    Some(ProcessMemory {
        pss_bytes: bytes("Pss:")?,
        private_bytes: bytes("Private_Clean:")?.checked_add(bytes("Private_Dirty:")?)?,
    })
}

/// Returns the children of all threads of a process.
fn children_of(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split(' ')
                .filter_map(|pid| pid.trim().parse().ok())
                .collect::<Vec<u32>>()
        })
        .collect()
}

/// Splits behind the name, which may hold anything.
fn fields_from_state(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    Some(after_name.split(' ').map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_parent_and_used_time() {
        let own = std::process::id();
        assert_eq!(parent_of(own), Some(std::os::unix::process::parent_id()));
        while cpu_time_of(own).unwrap().is_zero() {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn a_process_and_its_children_are_a_family_with_memory() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let family = family_of(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(family[0], std::process::id());
        assert!(family.contains(&child.id()), "{family:?}");

        let memory = memory_of(std::process::id()).unwrap();
        assert!(
            memory.private_bytes > 0 && memory.pss_bytes >= memory.private_bytes,
            "{memory:?}"
        );
        assert_eq!(memory_of(u32::MAX), None);
        assert_eq!(family_of(u32::MAX), [u32::MAX]);
    }

    #[test]
    fn a_process_that_is_not_there_has_nothing() {
        assert_eq!((parent_of(u32::MAX), cpu_time_of(u32::MAX)), (None, None));
    }
}
