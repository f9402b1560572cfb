//! One place of a tree: a name in an open folder, and what is done there.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{
        AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags, fsetxattr, lsetxattr, makedev,
        mknodat, openat, statat, unlinkat, utimensat,
    },
    io::Errno,
};

use super::UnpackError;

/// Where an entry goes: a name in an open folder.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) parent: BorrowedFd<'a>,
    pub(super) name: &'a [u8],
    /// As the archive says it, for people.
    pub(super) path: &'a [u8],
}

impl Place<'_> {
    pub(super) fn failed(&self, error: impl Into<io::Error>) -> UnpackError {
        UnpackError::disk(self.path, error)
    }

    pub(super) fn kind(&self) -> Result<Option<FileType>, UnpackError> {
        match statat(self.parent, self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    pub(super) fn unlink(&self) -> Result<(), UnpackError> {
        unlinkat(self.parent, self.name, AtFlags::empty()).map_err(|error| self.failed(error))
    }

    /// Removes what an earlier entry of the same name made.
    pub(super) fn make_room(&self) -> Result<(), UnpackError> {
        match self.kind()? {
            None => Ok(()),
            Some(FileType::Directory) => {
                unlinkat(self.parent, self.name, AtFlags::REMOVEDIR).map_err(|error| match error {
                    Errno::NOTEMPTY | Errno::EXIST => {
                        UnpackError::entry(self.path, "is a folder with content and something else")
                    }
                    error => self.failed(error),
                })
            }
            Some(_) => self.unlink(),
        }
    }

    pub(super) fn open_folder(&self) -> Result<OwnedFd, UnpackError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(self.parent, self.name, flags, Mode::empty()).map_err(|error| self.failed(error))
    }

    pub(super) fn touch(&self, mtime: u64) -> Result<(), UnpackError> {
        utimensat(self.parent, self.name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| self.failed(error))
    }

    pub(super) fn is_same_as(&self, parent: &OwnedFd, name: &[u8]) -> bool {
        let own = statat(self.parent, self.name, AtFlags::SYMLINK_NOFOLLOW);
        let other = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
        matches!((own, other), (Ok(own), Ok(other)) if (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino))
    }
}

/// Notes that something of the layers below is removed.
pub(super) fn hide(place: &Place<'_>, is_root: bool) -> Result<(), UnpackError> {
    if place.name.is_empty() || matches!(place.name, b"." | b"..") {
        return Err(UnpackError::entry(place.path, "removes nothing that has a name"));
    }
    match place.kind()? {
        // What this very layer has is not meant: only what is below.
        Some(FileType::Directory) => {
            let folder = place.open_folder()?;
            mark_opaque(folder.as_fd(), is_root).map_err(|error| place.failed(error))
        }
        Some(_) => Ok(()),
        None => mknodat(
            place.parent,
            place.name,
            FileType::CharacterDevice,
            Mode::empty(),
            makedev(0, 0),
        )
        .map_err(|error| place.failed(error)),
    }
}

/// Notes that nothing of the folder below shows through (`Documentation/filesystems/overlayfs.rst`). Without root the name is
/// that of mounts with `userxattr`.
pub(super) fn mark_opaque(folder: BorrowedFd<'_>, is_root: bool) -> Result<(), Errno> {
    let name = if is_root {
        "trusted.overlay.opaque"
    } else {
        "user.overlay.opaque"
    };
    // The folder may be open as a path only, which cannot be written to.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&folder));
    rustix::fs::setxattr(path.as_str(), name, b"y", XattrFlags::empty())
}

pub(super) fn set_xattr(place: &Place<'_>, name: &[u8], value: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match openat(place.parent, place.name, flags, Mode::empty()) {
        Ok(file) => fsetxattr(&file, name, value, XattrFlags::empty()),
        Err(Errno::LOOP) => {
            let mut path = format!(
                "/proc/self/fd/{}/",
                std::os::fd::AsRawFd::as_raw_fd(&place.parent)
            )
            .into_bytes();
            path.extend_from_slice(place.name);
            lsetxattr(path.as_slice(), name, value, XattrFlags::empty())
        }
        Err(error) => Err(error),
    }
}

pub(super) fn times(mtime: u64) -> Timestamps {
    let time = Timespec {
        tv_sec: i64::try_from(mtime).unwrap_or(0),
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
