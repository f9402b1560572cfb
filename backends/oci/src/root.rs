//! From layers and an upper folder to mounts that are attached nowhere.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use vulcan_backend::{BackendError, Root, Upper};
use vulcan_host::{
    launcher::{BundleUpper, bundle::LAYERS_MAX},
    mounts::detached,
};

use crate::furniture::Furniture;

/// The one above the image's, and the one below.
const FURNITURE_LAYERS: usize = 2;
const MIB: u64 = 1024 * 1024;

/// What an instance's root is made of.
pub(crate) struct Parts {
    /// The layers from the top down, and the mount with the upper folder if there is one.
    pub(crate) mounts: Vec<OwnedFd>,
    /// What the keeper is told of the upper folder.
    pub(crate) upper: BundleUpper,
    /// What must stay until the instance is over.
    pub(crate) holds: Holds,
}

/// What must stay until the instance is over, and what goes then.
pub(crate) struct Holds {
    /// The layers.
    _root: Arc<Root>,
    /// What overlayfs worked in.
    _work: Option<WorkFolder>,
}

/// A folder that is removed when it is dropped.
struct WorkFolder(PathBuf);

impl Drop for WorkFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(error = %error, "overlayfs' work folder could not be removed");
        }
    }
}

/// How much an instance may write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quota {
    pub(crate) disk_mb: u32,
    pub(crate) inodes_per_mb: u64,
}

impl Parts {
    /// Takes hold of everything. On failure nothing is left.
    pub(crate) fn take(
        root: Arc<Root>,
        furniture: &Furniture,
        upper: &Upper,
        quota: Quota,
    ) -> Result<Self, BackendError> {
        let failed = |step: String| {
            move |source| BackendError::StartFailed {
                step,
                source: Some(source),
            }
        };
        let layers_max = LAYERS_MAX - FURNITURE_LAYERS;
        if root.layers.is_empty() || root.layers.len() > layers_max {
            return Err(BackendError::StartFailed {
                step: format!(
                    "the image has {} layers, and a root is made of 1 to {layers_max}",
                    root.layers.len()
                ),
                source: None,
            });
        }
        let (top, bottom) = (furniture.top(), furniture.bottom());
        let layers = root.layers.iter().rev();
        let layers = std::iter::once(&top).chain(layers).chain([&bottom]);
        let mut mounts = Vec::with_capacity(root.layers.len() + FURNITURE_LAYERS + 1);
        for layer in layers {
            let step = format!("take the layer {}", layer.display());
            mounts.push(detached(layer).map_err(failed(step))?);
        }
        let (upper, work) = match upper {
            Upper::Memory => (in_memory(quota), None),
            Upper::Folder(folder) => {
                let step = format!("take the folder {}", folder.display());
                let (mount, upper, work) = on_disk(folder).map_err(failed(step))?;
                mounts.push(mount);
                (upper, Some(work))
            }
        };
        Ok(Self {
            mounts,
            upper,
            holds: Holds {
                _root: root,
                _work: work,
            },
        })
    }
}

fn in_memory(quota: Quota) -> BundleUpper {
    BundleUpper::Memory {
        bytes: u64::from(quota.disk_mb) * MIB,
        inodes: u64::from(quota.disk_mb) * quota.inodes_per_mb,
    }
}

/// Takes the folder above, since overlayfs wants its own folder on the same mount, beside the upper one.
fn on_disk(folder: &Path) -> io::Result<(OwnedFd, BundleUpper, WorkFolder)> {
    let text = |name: Option<&std::ffi::OsStr>| {
        let text = name.and_then(std::ffi::OsStr::to_str);
        // Commas and colons are overlayfs' own.
        let is_plain = |text: &&str| !text.contains([',', ':', '\\']);
        text.filter(is_plain).map(str::to_owned).ok_or_else(|| {
            let message = "its name must be text without commas, colons and backslashes";
            io::Error::new(io::ErrorKind::InvalidInput, message)
        })
    };
    let name = text(folder.file_name())?;
    let work = format!("{name}.work");
    let parent = folder.parent().unwrap_or(Path::new("/"));
    let mount = detached(parent)?;
    let place = parent.join(&work);
    fs::create_dir(&place)?;
    Ok((mount, BundleUpper::Folder { name, work }, WorkFolder(place)))
}
