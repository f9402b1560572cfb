//! Mounts that are attached nowhere.

use std::{io, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::CWD,
    mount::{OpenTreeFlags, open_tree},
};

/// Returns a copy of the mount below a folder that is attached nowhere: with its last descriptor it is gone. Needs root.
///
/// Source: man 2 open_tree, OPEN_TREE_CLONE.
///
/// # Errors
///
/// What the operating system said.
pub fn detached(folder: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(open_tree(CWD, folder, flags)?)
}
