//! The files of one instance: a small file system in memory, with a quota. Nothing of it is ever on the host's disk, and
//! nothing of the host's is in it.

mod content;
mod disk;
mod node;
mod package;
mod path;
mod quota;
mod tree;

pub(crate) use disk::Disk;
pub(crate) use node::{Kind, NodeId};
pub(crate) use package::Package;
pub(crate) use path::{Follow, Found};
pub(crate) use quota::Problem;
pub(crate) use tree::Tree;
