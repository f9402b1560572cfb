//! Where files go when nobody says.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use etcetera::BaseStrategy;

use crate::{
    config::Config,
    failure::{Exit, Failure},
};

/// Returns the folder of records and logs: `/var/lib/vulcan` for root, otherwise the user's data folder (XDG).
///
/// # Errors
///
/// A [`Failure`] when there is no home folder to put it in.
fn data_dir() -> Result<PathBuf, Failure> {
    if is_root() {
        return Ok(PathBuf::from("/var/lib/vulcan"));
    }
    Ok(strategy()?.data_dir().join("vulcan"))
}

/// Returns the folder of what can be made again: `/var/cache/vulcan` for root, otherwise the user's cache folder (XDG).
///
/// # Errors
///
/// A [`Failure`] when there is no home folder to put it in.
fn cache_dir() -> Result<PathBuf, Failure> {
    if is_root() {
        return Ok(PathBuf::from("/var/cache/vulcan"));
    }
    Ok(strategy()?.cache_dir().join("vulcan"))
}

/// Returns the cache folder that is set, otherwise the default.
///
/// # Errors
///
/// A [`Failure`] when there is no home folder to put it in.
pub(crate) fn cache_dir_of(config: &Config) -> Result<PathBuf, Failure> {
    config.server.cache_dir.clone().map_or_else(cache_dir, Ok)
}

/// Returns the data folder that is set, otherwise the default.
///
/// # Errors
///
/// A [`Failure`] when there is no home folder to put it in.
pub(crate) fn data_dir_of(config: &Config) -> Result<PathBuf, Failure> {
    config.server.data_dir.clone().map_or_else(data_dir, Ok)
}

/// Returns whether this process may do everything.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Makes a folder that only its owner may enter, and everything above it.
///
/// One that is there stays as it is, and must belong to this user.
///
/// # Errors
///
/// What the operating system says; `PermissionDenied` for a folder of somebody else.
pub(crate) fn create_private(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let meta = fs::metadata(folder)?;
    if meta.mode() & 0o077 != 0 {
        tracing::warn!(path = %folder.display(), "others may enter the folder");
    }
    let owner = meta.uid();
    if owner != rustix::process::geteuid().as_raw() && !is_root() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("it belongs to user {owner}"),
        ));
    }
    Ok(())
}

fn strategy() -> Result<etcetera::base_strategy::Xdg, Failure> {
    etcetera::base_strategy::Xdg::new().map_err(|error| {
        Failure::from_error(Exit::USAGE, "find the home folder", &error)
            .hint("set HOME, or name the folder with --data-dir")
    })
}
