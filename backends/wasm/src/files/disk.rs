//! The disk of one instance: its folders, shared by all programs that run in it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    node::NodeId,
    quota::{Problem, Quota},
    tree::Tree,
};
use crate::budget::Budget;

/// A tree with the two folders that every program sees.
#[derive(Debug)]
pub(crate) struct Disk {
    tree: Mutex<Tree>,
    pub(crate) work: NodeId,
    pub(crate) tmp: NodeId,
}

impl Disk {
    /// Makes an empty one.
    ///
    /// # Errors
    ///
    /// [`Problem::DiskFull`] and [`Problem::OutOfMemory`] where not even two folders fit.
    pub(crate) fn new(bytes_max: u64, memory: Arc<Budget>) -> Result<Self, Problem> {
        let mut tree = Tree::new(Quota::new(bytes_max, memory));
        let work = tree.make_folder(Tree::ROOT, "work")?;
        let tmp = tree.make_folder(Tree::ROOT, "tmp")?;
        Ok(Self {
            tree: Mutex::new(tree),
            work,
            tmp,
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Tree> {
        // A panic in the middle of a change leaves counts wrong at worst, and the tree is the guest's own.
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
