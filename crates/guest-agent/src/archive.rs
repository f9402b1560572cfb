//! Unpacks archives that nobody vouches for.
//!
//! The control plane has checked them, and the instance is the attacker's own; still nothing is written outside of the work
//! folder, and no entry is anything but a file, a folder or a link that stays inside. Folders are opened name by name without
//! following links, so that a link from the archive leads nowhere while it is unpacked.

use std::{
    ffi::OsStr,
    io::{self, Read},
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};

use flate2::read::GzDecoder;
use tar::{Archive, Entry, EntryType};
use vulcan_guest_protocol::Refusal;

use crate::{
    limits::{DEPTH_MAX, ENTRIES_MAX},
    paths, refusal,
};

/// Unpacks a tar.gz archive into the folder. A failure leaves what was unpacked until then.
pub(crate) fn unpack(packed: &[u8], folder: &Path) -> Result<(), Refusal> {
    let root = paths::open_root(folder)
        .map_err(|error| refusal::io(format_args!("open {}", folder.display()), &error))?;
    let bytes_max = disk_bytes(&root);
    let mut archive = Archive::new(GzDecoder::new(packed).take(bytes_max));
    let entries = archive.entries().map_err(|error| broken(&error))?;
    let mut unpacker = Unpacker { root, folder: None };
    for (index, entry) in entries.enumerate() {
        if index >= ENTRIES_MAX {
            let message = format!("the archive has more than {ENTRIES_MAX} entries");
            return Err(refusal::invalid(message));
        }
        unpacker.entry(&mut entry.map_err(|error| broken(&error))?)?;
    }
    Ok(())
}

/// Returns how long the unpacked stream may be: what the disk holds, and the headers of that many small files.
///
/// A bomb is stopped by the full disk already; this stops one that never writes anything.
fn disk_bytes(root: &OwnedFd) -> u64 {
    const HEADERS: u64 = (ENTRIES_MAX as u64) * 2048;
    rustix::fs::fstatvfs(root).map_or(u64::MAX, |disk| {
        disk.f_blocks
            .saturating_mul(disk.f_frsize)
            .saturating_add(HEADERS)
    })
}

struct Unpacker {
    root: OwnedFd,
    /// The folder of the last entry: the next one is mostly in it too.
    folder: Option<(PathBuf, OwnedFd)>,
}

impl Unpacker {
    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<(), Refusal> {
        let path = entry.path().map_err(|error| broken(&error))?.into_owned();
        let names =
            paths::names(&path).map_err(|problem| refused(&path, format_args!("its path {problem}")))?;
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let Some((name, parents)) = names.split_last() else {
            return Ok(());
        };
        let result = match kind {
            EntryType::Directory => paths::make_folders(&self.root, &names).map(drop),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(entry, parents, name)
            }
            EntryType::Symlink => {
                let target = link_target(entry, &path)?;
                is_inside(parents.len(), &target)
                    .then_some(())
                    .ok_or_else(|| refused(&path, "it is a link that leads out of the archive"))?;
                self.symlink(&target, parents, name)
            }
            EntryType::Link => {
                let target = link_target(entry, &path)?;
                let target = paths::names(&target)
                    .map_err(|problem| refused(&path, format_args!("its target {problem}")))?;
                self.hard_link(&target, parents, name)
            }
            _ => return Err(refused(&path, "it is neither a file, a folder nor a link")),
        };
        result.map_err(|error| failed(&path, &error))
    }

    fn file<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        parents: &[&OsStr],
        name: &OsStr,
    ) -> io::Result<()> {
        // Only the bits that make sense for one user who owns everything.
        let mode = match entry.header().mode()? & 0o100 {
            0 => 0o644,
            _ => 0o755,
        };
        let mut file = paths::make_file(self.folder(parents)?, name, mode)?;
        io::copy(entry, &mut file).map(drop)
    }

    fn symlink(&mut self, target: &Path, parents: &[&OsStr], name: &OsStr) -> io::Result<()> {
        let folder = self.folder(parents)?;
        Ok(rustix::fs::symlinkat(target, folder, name)?)
    }

    fn hard_link(&mut self, target: &[&OsStr], parents: &[&OsStr], name: &OsStr) -> io::Result<()> {
        let Some((target_name, target_parents)) = target.split_last() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let from = paths::make_folders(&self.root, target_parents)?;
        let to = self.folder(parents)?;
        Ok(rustix::fs::linkat(
            &from,
            *target_name,
            to,
            name,
            rustix::fs::AtFlags::empty(),
        )?)
    }

    fn folder(&mut self, parents: &[&OsStr]) -> io::Result<&OwnedFd> {
        let path: PathBuf = parents.iter().collect();
        let known = self.folder.take().filter(|(known, _)| *known == path);
        let folder = match known {
            Some(known) => known,
            None => (path, paths::make_folders(&self.root, parents)?),
        };
        Ok(&self.folder.insert(folder).1)
    }
}

fn link_target<R: Read>(entry: &Entry<'_, R>, path: &Path) -> Result<PathBuf, Refusal> {
    match entry.link_name() {
        Ok(Some(target)) => Ok(target.into_owned()),
        Ok(None) => Err(refused(path, "it is a link to nothing")),
        Err(error) => Err(broken(&error)),
    }
}

/// Returns whether a link in a folder `depth` below the root stays below it.
///
/// `..` is only taken at the beginning, where it leads through real folders: behind a name it could lead through another link.
fn is_inside(depth: usize, target: &Path) -> bool {
    let mut up = 0;
    let mut down = 0;
    for component in target.components() {
        match component {
            Component::ParentDir if down == 0 => up += 1,
            Component::Normal(_) => down += 1,
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    up <= depth && down <= DEPTH_MAX
}

fn broken(error: &io::Error) -> Refusal {
    refusal::invalid(format!("the archive is no tar.gz that can be read: {error}"))
}

fn refused(path: &Path, problem: impl std::fmt::Display) -> Refusal {
    refusal::invalid(format!(
        "the archive's entry '{}' cannot be unpacked: {problem}",
        path.display()
    ))
}

fn failed(path: &Path, error: &io::Error) -> Refusal {
    refused(path, refusal::reason(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_may_climb_to_the_root_and_no_further() {
        for target in ["b", "../b", "../../b", "./b/c"] {
            assert!(is_inside(2, Path::new(target)), "{target}");
        }
        for target in ["../../../b", "/etc/passwd", "b/../../c"] {
            assert!(!is_inside(2, Path::new(target)), "{target}");
        }
    }
}
