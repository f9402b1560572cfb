//! What the scheduler knows of the nodes: what they offer, how much is promised there, and whether they still speak.

use std::{collections::BTreeMap, time::Duration};

use vulcan_api::{BackendInfo, IsolationClass, NodeCapacity, NodeName, Runtime};

/// A node that was silent for so long takes no new workloads.
pub(crate) const NODE_SILENT_AFTER: Duration = Duration::from_secs(15);
/// What was placed on a node that was silent for so long is lost.
pub(crate) const NODE_LOST_AFTER: Duration = Duration::from_secs(300);
/// How long a node that refused a workload for want of room gets no other one, unless something ends there before.
pub(super) const FULL_FOR: Duration = Duration::from_millis(100);

/// What a workload needs of a node, beside room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Need {
    /// The class of isolation.
    pub(crate) isolation: IsolationClass,
    /// The runtime under it.
    pub(crate) runtime: Runtime,
    /// Whether the workload names the image to stand on.
    pub(crate) has_image: bool,
}

/// One node.
#[derive(Debug)]
pub(super) struct Node {
    capacity: NodeCapacity,
    offers: Vec<Need>,
    says_ready: bool,
    heard_at: Duration,
    full_until: Option<Duration>,
    instances: u32,
    mem_mb: u64,
}

/// All nodes that ever reported.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    by_name: BTreeMap<NodeName, Node>,
}

impl Nodes {
    /// Takes in what a node says about itself.
    pub(super) fn heard(
        &mut self,
        now: Duration,
        name: &NodeName,
        says: (bool, NodeCapacity),
        backends: &[BackendInfo],
    ) {
        let node = self.by_name.entry(name.clone()).or_insert_with(|| Node {
            capacity: NodeCapacity::default(),
            offers: Vec::new(),
            says_ready: false,
            heard_at: now,
            full_until: None,
            instances: 0,
            mem_mb: 0,
        });
        (node.says_ready, node.capacity) = says;
        node.heard_at = now;
        node.offers = offers(backends);
    }

    /// Returns whether a node takes workloads.
    pub(super) fn is_ready(&self, now: Duration, name: &NodeName) -> bool {
        self.by_name.get(name).is_some_and(|node| node.is_ready(now))
    }

    /// Returns the nodes whose workloads are lost because they were silent for too long.
    pub(super) fn lost(&self, now: Duration) -> Vec<NodeName> {
        self.by_name
            .iter()
            .filter(|(_, node)| now.saturating_sub(node.heard_at) >= NODE_LOST_AFTER)
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Says where a workload can go.
    ///
    /// Among several the one with the fewest instances. `held_back` are nodes where an earlier workload waits for room.
    pub(super) fn choose(&self, now: Duration, need: Need, mem_mb: u32, held_back: &[NodeName]) -> Choice {
        let fitting = || {
            self.by_name
                .iter()
                .filter(move |(_, node)| node.is_ready(now) && node.offers.contains(&need))
        };
        let free = fitting()
            .filter(|(name, node)| !held_back.contains(name) && node.has_room(now, mem_mb))
            .min_by_key(|(_, node)| node.instances);
        match free {
            Some((name, _)) => Choice::Place(name.clone()),
            None => Choice::Wait(fitting().map(|(name, _)| name.clone()).collect()),
        }
    }

    /// Counts a workload in.
    pub(super) fn take(&mut self, name: &NodeName, mem_mb: u32) {
        if let Some(node) = self.by_name.get_mut(name) {
            node.instances += 1;
            node.mem_mb += u64::from(mem_mb);
        }
    }

    /// Counts a workload out; there is room again.
    pub(super) fn give_back(&mut self, name: &NodeName, mem_mb: u32) {
        if let Some(node) = self.by_name.get_mut(name) {
            node.instances = node.instances.saturating_sub(1);
            node.mem_mb = node.mem_mb.saturating_sub(u64::from(mem_mb));
            node.full_until = None;
        }
    }

    /// Notes that a node had no room.
    pub(super) fn refused(&mut self, now: Duration, name: &NodeName) {
        if let Some(node) = self.by_name.get_mut(name) {
            node.full_until = Some(now + FULL_FOR);
        }
    }

    /// Returns the most memory that one ready node that offers `need` has, in MiB; `None` when none does.
    pub(super) fn mem_max(&self, need: Need) -> Option<u64> {
        self.by_name
            .values()
            .filter(|node| node.offers.contains(&need))
            .map(|node| node.capacity.mem_mb)
            .max()
    }
}

/// Where a workload can go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// There.
    Place(NodeName),
    /// Nowhere now; these could run it and have no room. None when nobody offers it.
    Wait(Vec<NodeName>),
}

impl Node {
    fn is_ready(&self, now: Duration) -> bool {
        self.says_ready && now.saturating_sub(self.heard_at) < NODE_SILENT_AFTER
    }

    fn has_room(&self, now: Duration, mem_mb: u32) -> bool {
        self.full_until.is_none_or(|until| until <= now)
            && self.instances < self.capacity.instances_max
            && self.mem_mb + u64::from(mem_mb) <= self.capacity.mem_mb
    }
}

fn offers(backends: &[BackendInfo]) -> Vec<Need> {
    backends
        .iter()
        .filter(|backend| backend.readiness.is_usable())
        .flat_map(|backend| {
            backend
                .runtimes
                .iter()
                .flat_map(|info| [(info, false), (info, true)])
                .filter(|(info, has_image)| info.is_available(*has_image))
                .map(|(info, has_image)| Need {
                    isolation: backend.isolation,
                    runtime: info.runtime,
                    has_image,
                })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use vulcan_api::{Readiness, RuntimeInfo};

    use super::*;

    #[test]
    fn an_image_that_is_named_makes_up_for_a_default_one_that_is_missing() {
        let backend = |packages: &[&str]| BackendInfo {
            isolation: IsolationClass::Gvisor,
            node: "newt".parse().unwrap(),
            readiness: Readiness::Ready,
            runtimes: vec![RuntimeInfo {
                runtime: Runtime::Python,
                available: packages.is_empty(),
                detail: String::new(),
                packages: packages.iter().map(|name| (*name).to_owned()).collect(),
            }],
            abilities: Vec::new(),
            pools: Vec::new(),
        };
        let offered = |packages: &[&str]| -> Vec<bool> {
            let offers = offers(&[backend(packages)]);
            offers.into_iter().map(|need| need.has_image).collect()
        };
        assert_eq!(offered(&[]), [false, true]);
        assert_eq!(offered(&["image:vulcan/python"]), [true]);
        assert_eq!(offered(&["image:vulcan/python", "python3"]), [] as [bool; 0]);
    }
}
