//! What the nodes last said about themselves.

use std::{collections::BTreeMap, sync::Arc};

use vulcan_api::{BackendInfo, NodeInfo, NodeName};
use vulcan_bus::NodeStatus;

/// All nodes that reported since the start.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Inventory {
    nodes: BTreeMap<NodeName, Arc<(NodeInfo, Vec<BackendInfo>)>>,
}

impl Inventory {
    /// Takes in what a node says.
    pub(crate) fn heard(&mut self, status: &NodeStatus) {
        let entry = Arc::new((status.node.clone(), status.backends.clone()));
        self.nodes.insert(status.node.name.clone(), entry);
    }

    /// Marks the nodes that `is_ready` denies as not ready; returns whether that changed anything.
    pub(crate) fn silence(&mut self, is_ready: impl Fn(&NodeName) -> bool) -> bool {
        let mut changed = false;
        for (name, entry) in &mut self.nodes {
            if entry.0.ready && !is_ready(name) {
                Arc::make_mut(entry).0.ready = false;
                changed = true;
            }
        }
        changed
    }

    /// Returns the nodes in the order of their names.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.values().map(|entry| &entry.0)
    }

    /// Returns one node.
    pub(crate) fn node(&self, name: &NodeName) -> Option<&NodeInfo> {
        self.nodes.get(name).map(|entry| &entry.0)
    }

    /// Returns the backends of all nodes.
    pub(crate) fn backends(&self) -> impl Iterator<Item = &BackendInfo> {
        self.nodes.values().flat_map(|entry| &entry.1)
    }

    /// Returns whether no node ever reported.
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}
