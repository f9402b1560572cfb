//! The folder of the store: where things lie, and how they get there whole or not at all.
//!
//! ```text
//! blobs/sha256/<hex>    what travels: packed layers, configs, manifests
//! layers/<hex>/         an unpacked layer, by the digest of its plain tar; <hex>.json says that it is whole
//! images/<hex>.json     an image, by the digest of its manifest
//! steps/<hex>.json      the result of a step of a build, by its key
//! staging/              what is being made, gone at the next start; staging/partial keeps blobs that were broken off
//! ```

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};
use tempfile::TempDir;

use super::digest::Digest;

/// Where everything is.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    root: PathBuf,
}

const BLOBS: &str = "blobs/sha256";
const LAYERS: &str = "layers";
const IMAGES: &str = "images";
const STEPS: &str = "steps";
const STAGING: &str = "staging";
const PARTIAL: &str = "partial";

/// What a record is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    Layer,
    Image,
    Step,
}

impl Noted {
    const fn folder(self) -> &'static str {
        match self {
            Self::Layer => LAYERS,
            Self::Image => IMAGES,
            Self::Step => STEPS,
        }
    }
}

impl Disk {
    /// Makes the folders, and removes what a former process had in staging.
    pub(super) fn open(root: PathBuf) -> io::Result<Self> {
        let disk = Self { root };
        for folder in [BLOBS, LAYERS, IMAGES, STEPS, STAGING] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(disk.root.join(folder))?;
        }
        for entry in fs::read_dir(disk.root.join(STAGING))? {
            let entry = entry?;
            if entry.file_name() != PARTIAL {
                remove(&entry.path())?;
            }
        }
        fs::create_dir_all(disk.partials())?;
        Ok(disk)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.root.join(BLOBS).join(digest.hex())
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.root.join(BLOBS)
    }

    pub(super) fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.root.join(LAYERS).join(diff_id.hex())
    }

    pub(super) fn layers(&self) -> PathBuf {
        self.root.join(LAYERS)
    }

    pub(super) fn partials(&self) -> PathBuf {
        self.root.join(STAGING).join(PARTIAL)
    }

    fn record(&self, what: Noted, digest: &Digest) -> PathBuf {
        self.root
            .join(what.folder())
            .join(format!("{}.json", digest.hex()))
    }

    /// Makes a folder for something half made.
    pub(super) fn scratch(&self) -> io::Result<Scratch> {
        let folder = tempfile::Builder::new()
            .prefix("made-")
            .tempdir_in(self.root.join(STAGING))?;
        Ok(Scratch(Some(folder)))
    }

    /// Writes a record: whoever reads finds the old or the new one, after a crash too.
    pub(super) fn note<T: Serialize>(&self, what: Noted, digest: &Digest, record: &T) -> io::Result<()> {
        let content = serde_json::to_vec_pretty(record)?;
        self.place(&content, &self.record(what, digest))
    }

    /// Removes a record; one that is not there is none.
    pub(super) fn forget(&self, what: Noted, digest: &Digest) -> io::Result<()> {
        absent_is_fine(fs::remove_file(self.record(what, digest)))
    }

    /// Writes a small blob.
    pub(super) fn write_blob(&self, digest: &Digest, content: &[u8]) -> io::Result<()> {
        let path = self.blob(digest);
        if path.exists() {
            return Ok(());
        }
        self.place(content, &path)
    }

    fn place(&self, content: &[u8], path: &Path) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(self.root.join(STAGING))?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        path.parent().map_or(Ok(()), sync_folder)
    }

    /// Reads all records of a kind; one that cannot be read is left out, and said.
    pub(super) fn records<T: DeserializeOwned>(&self, what: Noted) -> io::Result<Vec<T>> {
        let mut records = Vec::new();
        for entry in fs::read_dir(self.root.join(what.folder()))? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match serde_json::from_slice(&fs::read(&path)?) {
                Ok(record) => records.push(record),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "record of the image store was dropped");
                    absent_is_fine(fs::remove_file(&path))?;
                }
            }
        }
        Ok(records)
    }
}

/// A folder for something half made, on the filesystem of the store; gone with the value, and at the next start.
#[derive(Debug)]
pub(crate) struct Scratch(Option<TempDir>);

impl Scratch {
    /// Returns where it is.
    ///
    /// # Panics
    ///
    /// Never: it is there until it is dropped.
    pub(crate) fn path(&self) -> &Path {
        self.0
            .as_ref()
            .expect("a scratch folder is there until it is dropped")
            .path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let Some(folder) = self.0.take() else { return };
        let path = folder.keep();
        let clear = move || {
            if let Err(error) = remove(&path) {
                tracing::warn!(path = %path.display(), %error, "scratch folder stays until the next start");
            }
        };
        // Many files take long to remove; a runtime that ends waits for it.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(clear)),
            Err(_) => clear(),
        }
    }
}

/// Removes a file or a folder with all that is in it; what is not there is fine.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let is_folder = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.is_dir(),
        Err(error) => return absent_is_fine(Err(error)),
    };
    if !is_folder {
        return absent_is_fine(fs::remove_file(path));
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            // Without root, folders that may not be written to must be opened first.
            unlock(path)?;
            fs::remove_dir_all(path)
        }
        result => absent_is_fine(result),
    }
}

fn unlock(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            unlock(&entry.path())?;
        }
    }
    Ok(())
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Makes renames into a folder last.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
