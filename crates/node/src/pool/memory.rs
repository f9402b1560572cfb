//! How much memory the machine has left.

use std::fs;

/// What the machine has, and what of it could be had without swapping, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) total: u64,
    pub(crate) available: u64,
}

impl Memory {
    /// Reads it now; `None` where the kernel does not say. A limit on this process's cgroup counts as the machine's memory.
    pub(crate) fn read() -> Option<Self> {
        let machine = parse(&fs::read_to_string("/proc/meminfo").ok()?)?;
        // In a container these are its own; elsewhere there are none, or they say "max" or a huge number.
        let number = |path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let limit = number("/sys/fs/cgroup/memory.max");
        let within = limit.zip(number("/sys/fs/cgroup/memory.current"));
        Some(within.map_or(machine, |(limit, current)| machine.within(limit, current)))
    }

    fn within(self, limit: u64, current: u64) -> Self {
        Self {
            total: self.total.min(limit),
            available: self.available.min(limit.saturating_sub(current)),
        }
    }

    /// Returns how much more should be available so that it is `percent` of the total.
    pub(crate) const fn shortfall(self, percent: u32) -> u64 {
        let least = (self.total / 100).saturating_mul(percent as u64);
        least.saturating_sub(self.available)
    }
}

/// Reads the text of /proc/meminfo (man 5 proc_meminfo): `MemAvailable:   12345 kB`.
fn parse(text: &str) -> Option<Memory> {
    let bytes = |name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    };
    Some(Memory {
        total: bytes("MemTotal:")?,
        available: bytes("MemAvailable:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_understood() {
        let text = "MemTotal:        2000 kB\nMemFree:           1 kB\nMemAvailable:     500 kB\n";
        let memory = parse(text).unwrap();
        assert_eq!((memory.total, memory.available), (2000 << 10, 500 << 10));
        assert_eq!(parse("MemTotal: 2000 kB\n"), None);
        assert_eq!(parse("MemTotal: x kB\nMemAvailable: 1 kB\n"), None);
        assert!(Memory::read().is_some_and(|memory| memory.available <= memory.total));
    }

    #[test]
    fn a_shortfall_is_what_is_missing_to_the_percentage() {
        let memory = Memory {
            total: 1000,
            available: 80,
        };
        assert_eq!(
            (memory.shortfall(10), memory.shortfall(8), memory.shortfall(0)),
            (20, 0, 0)
        );
        assert_eq!(
            memory.within(500, 450),
            Memory {
                total: 500,
                available: 50
            }
        );
    }
}
