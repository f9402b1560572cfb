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
    Some(Duration::from_millis(
        ticks.saturating_mul(1_000) / per_second.max(1),
    ))
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
    fn a_process_that_is_not_there_has_nothing() {
        assert_eq!((parent_of(u32::MAX), cpu_time_of(u32::MAX)), (None, None));
    }
}
