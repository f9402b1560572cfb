//! Whether there is room for one more instance: a pure decision.

use vulcan_api::Resources;

use crate::Capacity;

/// What live instances have been promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Used {
    /// The sum of their memory limits, in MiB.
    pub(crate) mem_mb: u64,
    /// How many there are.
    pub(crate) instances: u32,
}

impl Used {
    /// Adds one instance.
    pub(crate) const fn with(self, mem_mb: u32) -> Self {
        Self {
            mem_mb: self.mem_mb + mem_mb as u64,
            instances: self.instances + 1,
        }
    }

    /// Takes one instance away.
    pub(crate) const fn without(self, mem_mb: u32) -> Self {
        Self {
            mem_mb: self.mem_mb.saturating_sub(mem_mb as u64),
            instances: self.instances.saturating_sub(1),
        }
    }
}

/// Returns what is used with one more instance, or why there is no room for it now.
pub(crate) fn admit(used: Used, capacity: Capacity, resources: &Resources) -> Result<Used, String> {
    let after = used.with(resources.mem_mb);
    if after.instances > capacity.instances_max {
        return Err(format!(
            "all {} instances of the node are in use",
            capacity.instances_max
        ));
    }
    if after.mem_mb > capacity.mem_mb {
        return Err(format!(
            "{} MiB of memory were asked for, and {} of the node's {} MiB are free",
            resources.mem_mb,
            capacity.mem_mb.saturating_sub(used.mem_mb),
            capacity.mem_mb
        ));
    }
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: Capacity = Capacity {
        mem_mb: 300,
        instances_max: 2,
    };

    fn resources(mem_mb: u32) -> Resources {
        Resources {
            mem_mb,
            ..Resources::default()
        }
    }

    #[test]
    fn the_last_free_memory_is_given_away() {
        let used = admit(Used::default(), CAPACITY, &resources(200)).unwrap();
        assert_eq!(
            admit(used, CAPACITY, &resources(100)),
            Ok(Used {
                mem_mb: 300,
                instances: 2
            })
        );
    }

    #[test]
    fn a_refusal_says_what_is_short() {
        let used = Used::default().with(200);
        assert_eq!(
            admit(used, CAPACITY, &resources(101)),
            Err("101 MiB of memory were asked for, and 100 of the node's 300 MiB are free".to_owned())
        );
        assert_eq!(
            admit(used.with(8), CAPACITY, &resources(8)),
            Err("all 2 instances of the node are in use".to_owned())
        );
    }

    #[test]
    fn what_was_taken_comes_back() {
        let used = Used::default().with(200);
        assert_eq!(used.with(64).without(64), used);
    }
}
