//! The few facts about the machine that a node reports or counts with, and its source of randomness.

use std::fs;

use rustix::rand::{GetRandomFlags, getrandom};

/// Returns the memory of the machine in MiB, or the least memory limit that this process's cgroup sets.
pub(crate) fn memory_mb() -> u64 {
    let machine = rustix::system::sysinfo();
    let bytes = machine
        .totalram
        .saturating_mul(u64::from(machine.mem_unit.max(1)));
    // In a container these are its own limits; elsewhere they say "max", a huge number, or do not exist.
    let limits = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let limit = limits
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok())
        .min();
    bytes.min(limit.unwrap_or(u64::MAX)) >> 20
}

/// Returns how many processors this process may use.
pub(crate) fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX))
}

/// Returns the processor's model, as the kernel names it.
pub(crate) fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    // x86 has the first, most others one of the second.
    let line = ["model name", "Model", "uarch"]
        .iter()
        .find_map(|name| text.lines().find(|line| line.starts_with(name)));
    line.and_then(|line| line.split_once(": "))
        .map_or_else(|| "unknown".to_owned(), |(_, model)| model.trim().to_owned())
}

/// Returns the kernel's release.
pub(crate) fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Returns 128 bits from the system's random source.
pub(crate) fn random() -> u128 {
    let mut bytes = [0_u8; 16];
    // man 2 getrandom: up to 256 bytes are never cut short or interrupted once the source is initialised.
    getrandom(&mut bytes, GetRandomFlags::empty()).expect("the system's random source answers");
    u128::from_le_bytes(bytes)
}
