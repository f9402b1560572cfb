//! Resource limits of a process (man 2 setrlimit).

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

/// Limits that a process and its children cannot raise again.
///
/// RLIMIT_AS is not among them: V8 and Go reserve address space by the terabyte and use little of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessLimits {
    /// Open files of one process.
    pub open_files: u64,
    /// The longest file, in bytes.
    pub file_bytes: u64,
    /// Processes and threads of the user in its namespace.
    pub processes: u64,
    /// Heap and other private writable memory of one process, in bytes. For hosts without a memory cgroup.
    pub data_bytes: Option<u64>,
}

/// Sets the limits, hard and soft, for this process and what it starts.
pub(crate) fn set_limits(limits: &ProcessLimits) -> io::Result<()> {
    const LOCKED_MEMORY_BYTES: u64 = 64 * 1024;
    const MESSAGE_QUEUE_BYTES: u64 = 64 * 1024;
    const PENDING_SIGNALS: u64 = 1024;
    let fixed = [
        (Resource::Nofile, limits.open_files),
        (Resource::Fsize, limits.file_bytes),
        (Resource::Nproc, limits.processes),
        (Resource::Core, 0),
        (Resource::Memlock, LOCKED_MEMORY_BYTES),
        (Resource::Msgqueue, MESSAGE_QUEUE_BYTES),
        (Resource::Sigpending, PENDING_SIGNALS),
        (Resource::Nice, 0),
        (Resource::Rtprio, 0),
    ];
    let data = limits.data_bytes.map(|bytes| (Resource::Data, bytes));
    for (resource, value) in fixed.into_iter().chain(data) {
        set_at_most(resource, value)?;
    }
    Ok(())
}

/// Lowers a limit; where the host's own is lower, that one stays.
fn set_at_most(resource: Resource, value: u64) -> io::Result<()> {
    let hard = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let value = Some(value.min(hard));
    setrlimit(
        resource,
        Rlimit {
            current: value,
            maximum: value,
        },
    )?;
    Ok(())
}
