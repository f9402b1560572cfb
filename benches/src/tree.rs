//! Files and folders below a folder.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What is found there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A folder.
    Folder,
    /// Anything else.
    File,
}

/// Returns everything of a kind below `root`, which may be missing. Follows no links; what goes away meanwhile is left out.
pub(crate) fn below(root: &Path, kind: Kind) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder {
                folders.push(entry.path());
            }
            if is_folder == (kind == Kind::Folder) {
                found.push(entry.path());
            }
        }
    }
    found
}
