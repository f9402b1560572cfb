//! What makes two blank instances interchangeable.

use sha2::{Digest as _, Sha256};
use vulcan_api::{IsolationClass, Network, Resources, Runtime};
use vulcan_backend::Root;

/// The limits of an instance, to compare; the wall-clock limit belongs to the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Size {
    /// As bits: sizes come from parsed numbers, where equal means equal bits.
    cpus: u64,
    pub(crate) mem_mb: u32,
    disk_mb: u32,
    pids: u32,
}

impl Size {
    /// Returns the size of an instance with these limits.
    pub(crate) const fn of(resources: &Resources) -> Self {
        Self {
            cpus: resources.cpus.to_bits(),
            mem_mb: resources.mem_mb,
            disk_mb: resources.disk_mb,
            pids: resources.pids,
        }
    }

    /// Returns the limits again, with the default of the wall-clock limit.
    pub(crate) fn resources(self) -> Resources {
        Resources {
            cpus: f64::from_bits(self.cpus),
            mem_mb: self.mem_mb,
            disk_mb: self.disk_mb,
            pids: self.pids,
            ..Resources::default()
        }
    }

    /// Returns the size in a form to hash.
    pub(super) fn bytes(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&self.cpus.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.mem_mb.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.disk_mb.to_le_bytes());
        bytes[16..].copy_from_slice(&self.pids.to_le_bytes());
        bytes
    }
}

/// What makes two blank instances interchangeable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct BlankKind {
    pub(crate) isolation: IsolationClass,
    /// The runtime that they are prepared for.
    pub(crate) runtime: Runtime,
    pub(crate) size: Size,
    pub(crate) network: Network,
    /// What they stand on, for classes that stand on an image.
    pub(crate) root: Option<RootId>,
}

/// Tells roots apart: equal ones have equal content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RootId([u8; 32]);

impl RootId {
    /// Returns the identity of a root.
    pub(crate) fn of(root: &Root) -> Self {
        Self::of_digest(&root.digest)
    }

    /// Returns the identity of the root of an image.
    pub(crate) fn of_digest(digest: &str) -> Self {
        Self(Sha256::digest(digest).into())
    }

    /// Returns the identity in a form to hash.
    pub(super) const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_everything_but_the_time() {
        let resources = Resources {
            cpus: 0.5,
            mem_mb: 64,
            disk_mb: 7,
            pids: 9,
            timeout_s: 1.0,
        };
        let back = Size::of(&resources).resources();
        assert_eq!(
            Resources {
                timeout_s: 1.0,
                ..back
            },
            resources
        );
        for other in [
            Resources {
                cpus: 1.0,
                ..resources
            },
            Resources {
                mem_mb: 65,
                ..resources
            },
            Resources {
                disk_mb: 8,
                ..resources
            },
            Resources {
                pids: 10,
                ..resources
            },
        ] {
            assert_ne!(Size::of(&other), Size::of(&resources));
            assert_ne!(Size::of(&other).bytes(), Size::of(&resources).bytes());
        }
    }
}
