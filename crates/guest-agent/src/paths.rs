//! Paths from outside, and folders that are walked without following a link.

use std::{
    ffi::OsStr,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Component, Path},
};

use rustix::fs::{Mode, OFlags};

use crate::limits::DEPTH_MAX;

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Returns the names that a relative path is made of, or what is wrong with it.
pub(crate) fn names(path: &Path) -> Result<Vec<&OsStr>, &'static str> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) if name.as_bytes().contains(&0) => return Err("contains a NUL byte"),
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            Component::ParentDir => return Err("contains '..'"),
            Component::RootDir | Component::Prefix(_) => return Err("is absolute"),
        }
    }
    if names.len() > DEPTH_MAX {
        return Err("is too deep");
    }
    Ok(names)
}

/// Opens a folder.
pub(crate) fn open_root(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, FOLDER | OFlags::RDONLY, Mode::empty())?)
}

/// Opens the folder below `root` that the names lead to, making what is missing; no link is followed.
pub(crate) fn make_folders(root: &OwnedFd, names: &[&OsStr]) -> io::Result<OwnedFd> {
    let mut folder = root.try_clone()?;
    for name in names {
        match rustix::fs::mkdirat(&folder, *name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        folder = rustix::fs::openat(&folder, *name, FOLDER | OFlags::RDONLY, Mode::empty())?;
    }
    Ok(folder)
}

/// Makes a file anew in a folder; what was there goes, a link is not followed.
pub(crate) fn make_file(folder: &OwnedFd, name: &OsStr, mode: u32) -> io::Result<std::fs::File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(mode);
    match rustix::fs::openat(folder, name, flags, mode) {
        Err(rustix::io::Errno::EXIST) => {
            rustix::fs::unlinkat(folder, name, rustix::fs::AtFlags::empty())?;
            Ok(rustix::fs::openat(folder, name, flags, mode)?.into())
        }
        result => Ok(result?.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_that_stay_inside_are_taken() {
        assert_eq!(
            names(Path::new("./a/./b")),
            Ok(vec![OsStr::new("a"), OsStr::new("b")])
        );
        assert_eq!(names(Path::new("/etc")), Err("is absolute"));
        assert_eq!(names(Path::new("a/../../b")), Err("contains '..'"));
        assert_eq!(names(Path::new("a\0b")), Err("contains a NUL byte"));
        assert_eq!(names(Path::new(&"a/".repeat(65))), Err("is too deep"));
    }
}
