//! One file, folder or link.

use std::collections::BTreeMap;

use super::content::Content;

/// A node's place in its tree; it is used again when the node is gone.
pub(crate) type NodeId = usize;

/// What a node is.
#[derive(Debug)]
pub(crate) enum Kind {
    File(Content),
    Folder(Folder),
    Link(String),
}

/// When a node was used, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) read: u64,
    pub(crate) written: u64,
    pub(crate) changed: u64,
}

/// A node of the tree.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// Its number, never used again.
    pub(crate) number: u64,
    /// Under how many names it can be found.
    pub(crate) names: u32,
    /// How many descriptors hold it.
    pub(crate) holders: u32,
    pub(crate) times: Times,
}

/// What a folder has: by name, and in the order in which it came, so that a listing in pieces misses nothing.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    names: BTreeMap<String, (NodeId, u64)>,
    order: BTreeMap<u64, String>,
}

impl Folder {
    pub(crate) fn get(&self, name: &str) -> Option<NodeId> {
        self.names.get(name).map(|(id, _)| *id)
    }

    /// Puts a node under a free name; `order` is larger than any before.
    pub(crate) fn insert(&mut self, name: &str, id: NodeId, order: u64) {
        self.names.insert(name.to_owned(), (id, order));
        self.order.insert(order, name.to_owned());
    }

    pub(crate) fn remove(&mut self, name: &str) {
        if let Some((_, order)) = self.names.remove(name) {
            self.order.remove(&order);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.names.values().map(|(id, _)| *id)
    }

    /// Lists from a place in the order on.
    pub(crate) fn list(&self, from: u64) -> impl Iterator<Item = (u64, &str, NodeId)> + '_ {
        self.order
            .range(from..)
            .filter_map(|(order, name)| Some((*order, name.as_str(), self.get(name)?)))
    }
}
