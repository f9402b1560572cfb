//! The folders that programs may write to.

use std::path::{Path, PathBuf};

/// Where code lives, and where scratch files go.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// The code, and the working directory of programs.
    pub(crate) work: PathBuf,
    /// Scratch files.
    pub(crate) tmp: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self::below(Path::new("/"))
    }
}

impl Places {
    /// Returns the same folders below another root.
    pub(crate) fn below(root: &Path) -> Self {
        Self {
            work: root.join("work"),
            tmp: root.join("tmp"),
        }
    }
}
