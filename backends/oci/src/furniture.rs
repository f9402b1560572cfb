//! What every root has beside the image: a layer above it with the agent and mount points, and one below it with what an empty
//! image lacks.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use vulcan_backend::AGENT;
use vulcan_host::launcher::GUEST_ID;

/// Where the agent is in a root.
pub(crate) const AGENT_PLACE: &str = "/.vulcan/agent";

/// Mount points; what an image has there is hidden anyway.
const TOP: [&str; 5] = ["proc", "sys", "dev", "dev/shm", ".vulcan"];
/// What images without these files get.
const ETC: [(&str, &str); 5] = [
    (
        "passwd",
        "root:x:0:0:root:/root:/bin/sh\nvulcan:x:1000:1000:vulcan:/work:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    ),
    ("group", "root:x:0:\nvulcan:x:1000:\nnogroup:x:65534:\n"),
    ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
    ("resolv.conf", ""),
];

/// A folder with what all roots of a backend share. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Furniture(PathBuf);

impl Furniture {
    /// Names the folder; makes nothing.
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// The layer above the image's.
    pub(crate) fn top(&self) -> PathBuf {
        self.0.join("top")
    }

    /// The layer below the image's.
    pub(crate) fn bottom(&self) -> PathBuf {
        self.0.join("bottom")
    }

    /// A layer with nothing in it, for trials.
    pub(crate) fn empty(&self) -> PathBuf {
        self.0.join("empty")
    }

    /// Makes the folder anew. What a former server left of it goes.
    pub(crate) fn make(&self) -> io::Result<()> {
        self.remove()?;
        make_folder(&self.0, 0o755)?;
        make_folder(&self.empty(), 0o755)?;
        let top = self.top();
        make_folder(&top, 0o755)?;
        for name in TOP {
            make_folder(&top.join(name), 0o755)?;
        }
        let agent = top.join(AGENT_PLACE.trim_start_matches('/'));
        fs::write(&agent, AGENT)?;
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o555))?;
        let bottom = self.bottom();
        make_folder(&bottom, 0o755)?;
        make_folder(&bottom.join("tmp"), 0o1777)?;
        make_folder(&bottom.join("work"), 0o755)?;
        chown(bottom.join("work"), Some(GUEST_ID), Some(GUEST_ID))?;
        make_folder(&bottom.join("etc"), 0o755)?;
        for (name, text) in ETC {
            let path = bottom.join("etc").join(name);
            fs::write(&path, text)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        }
        Ok(())
    }

    /// Removes the folder, and says whether there was one. May be repeated.
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

impl Drop for Furniture {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(error = %error, "the run folder could not be removed");
        }
    }
}

/// Makes a folder with exactly these permissions, whatever the umask.
fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}
