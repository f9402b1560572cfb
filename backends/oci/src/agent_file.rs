//! The guest agent as a file that instances mount, and the empty folder that a trial starts on.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use vulcan_backend::AGENT;

/// A folder with what all instances of a backend share. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct RunFolder(PathBuf);

impl RunFolder {
    /// Names the folder; makes nothing.
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where the agent is.
    pub(crate) fn agent(&self) -> PathBuf {
        self.0.join("agent")
    }

    /// A folder with nothing in it.
    pub(crate) fn empty(&self) -> PathBuf {
        self.0.join("empty")
    }

    /// Makes the folder, or takes over what a former server left of it. May be repeated.
    pub(crate) fn make(&self) -> io::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(self.empty())?;
        // Where instances of a former server still run, they have the file under its old inode.
        let fresh = self.0.join("agent.new");
        write_executable(&fresh)?;
        fs::rename(fresh, self.agent())
    }

    /// Removes the folder. May be repeated.
    pub(crate) fn remove(&self) -> io::Result<bool> {
        match fs::remove_dir_all(&self.0) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(error = %error, "the run folder could not be removed");
        }
    }
}

fn write_executable(path: &Path) -> io::Result<()> {
    fs::write(path, AGENT)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o555))
}
