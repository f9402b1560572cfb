//! Layers seen as one filesystem, as overlayfs would show them, without a mount. Reads only.
//!
//! Links are followed within the layers and never outside of them: every look-up by the kernel refuses links and what is not
//! beneath (`openat2`), and what a link says is followed here. Nobody changes layers, so that nothing changes in between.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStringExt},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{FileType, Mode, OFlags, RawDir, ResolveFlags, Stat, fgetxattr, fstat, open, openat2, readlinkat},
    io::Errno,
};

/// How many links are followed on the way to one file (`MAXSYMLINKS` of Linux).
const LINKS_MAX: usize = 40;

/// Several folders as one.
pub(super) struct Merged {
    /// The highest first.
    layers: Vec<OwnedFd>,
}

/// Something in a layer.
#[derive(Debug, Clone)]
pub(super) struct Found {
    layer: usize,
    /// Relative to the root, without links.
    pub(super) path: PathBuf,
    pub(super) stat: Stat,
}

impl Found {
    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    pub(super) fn is_folder(&self) -> bool {
        self.kind() == FileType::Directory
    }

    pub(super) fn permissions(&self) -> Mode {
        Mode::from_raw_mode(self.stat.st_mode & 0o7777)
    }
}

impl Merged {
    /// Opens folders, the lowest first.
    pub(super) fn open(folders: &[PathBuf]) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let layers = folders
            .iter()
            .rev()
            .map(|folder| Ok(open(folder, flags, Mode::empty())?))
            .collect::<io::Result<_>>()?;
        Ok(Self { layers })
    }

    /// Returns what is at a path, of which only the last part may be a link; it is not followed.
    pub(super) fn find(&self, path: &Path) -> io::Result<Option<Found>> {
        Ok(self.look_up(path)?.map(|(found, _)| found))
    }

    /// Returns what is in a folder, by name; nothing where there is none.
    pub(super) fn list(&self, folder: &Path) -> io::Result<BTreeMap<OsString, Found>> {
        let mut shown = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let Some((found, layers)) = self.look_up(folder)? else {
            return Ok(shown);
        };
        for layer in layers {
            for name in self.names(layer, &found.path)? {
                let path = found.path.join(&name);
                if !seen.insert(name.clone()) {
                    continue;
                }
                if let Some(stat) = self.stat(layer, &path)?
                    && !is_whiteout(&stat)
                {
                    shown.insert(name, Found { layer, path, stat });
                }
            }
        }
        Ok(shown)
    }

    /// Opens a file for reading.
    pub(super) fn read(&self, file: &Found) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        Ok(self.at(file.layer, &file.path, flags)?.into())
    }

    /// Returns where a link points to.
    pub(super) fn target(&self, link: &Found) -> io::Result<PathBuf> {
        let fd = self.at(link.layer, &link.path, OFlags::PATH | OFlags::NOFOLLOW)?;
        let target = readlinkat(fd, "", Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()).into())
    }

    /// Follows all links of a path, the last one too, and `..`, as a process with this root would. What is not there is taken as
    /// it is written.
    ///
    /// # Errors
    ///
    /// When there are too many links, or a file where a folder must be.
    pub(super) fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let mut left: VecDeque<OsString> = parts(path);
        let mut done = PathBuf::new();
        let mut links = 0;
        while let Some(part) = left.pop_front() {
            if part == ".." {
                done.pop();
                continue;
            }
            done.push(&part);
            let Some(found) = self.find(&done)? else {
                continue;
            };
            match found.kind() {
                FileType::Symlink => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(Errno::LOOP.into());
                    }
                    let target = self.target(&found)?;
                    if target.is_absolute() {
                        done = PathBuf::new();
                    } else {
                        done.pop();
                    }
                    for part in parts(&target).into_iter().rev() {
                        left.push_front(part);
                    }
                }
                FileType::Directory => {}
                _ if left.is_empty() => {}
                _ => return Err(Errno::NOTDIR.into()),
            }
        }
        Ok(done)
    }

    /// Returns what is at a path, and the layers whose folders show through there, the highest first.
    fn look_up(&self, path: &Path) -> io::Result<Option<(Found, Vec<usize>)>> {
        let mut layers: Vec<usize> = (0..self.layers.len()).collect();
        let Some(mut top) = self.top(&mut layers, Path::new(""))? else {
            return Ok(None);
        };
        let mut prefix = PathBuf::new();
        for part in parts(path) {
            if !top.is_folder() {
                return Ok(None);
            }
            prefix.push(part);
            match self.top(&mut layers, &prefix)? {
                Some(found) => top = found,
                None => return Ok(None),
            }
        }
        Ok(Some((top, layers)))
    }

    /// Returns what of some layers is seen at a path, and keeps of the layers those whose folders are part of it.
    fn top(&self, layers: &mut Vec<usize>, path: &Path) -> io::Result<Option<Found>> {
        let mut top: Option<Found> = None;
        let mut through = Vec::new();
        for &layer in &*layers {
            let Some(stat) = self.stat(layer, path)? else {
                continue;
            };
            if is_whiteout(&stat) {
                break;
            }
            let found = Found {
                layer,
                path: path.to_owned(),
                stat,
            };
            let is_folder = found.is_folder();
            if top.as_ref().is_some_and(|top| !top.is_folder() || !is_folder) {
                break;
            }
            top.get_or_insert(found);
            through.push(layer);
            if !is_folder || self.is_opaque(layer, path)? {
                break;
            }
        }
        *layers = through;
        Ok(top)
    }

    fn at(&self, layer: usize, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        // With O_PATH and O_NOFOLLOW the last part may be a link; RESOLVE_NO_SYMLINKS then allows it.
        openat2(
            &self.layers[layer],
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            how,
        )
    }

    fn stat(&self, layer: usize, path: &Path) -> io::Result<Option<Stat>> {
        match self.at(layer, path, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(fd) => Ok(Some(fstat(fd)?)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn is_opaque(&self, layer: usize, path: &Path) -> io::Result<bool> {
        let folder = self.at(layer, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)?;
        let mut value = [0_u8; 1];
        Ok(["trusted.overlay.opaque", "user.overlay.opaque"]
            .iter()
            .any(|name| {
                fgetxattr(&folder, *name, &mut value[..]).is_ok_and(|length| length == 1) && value == *b"y"
            }))
    }

    fn names(&self, layer: usize, folder: &Path) -> io::Result<Vec<OsString>> {
        let folder = self.at(
            layer,
            folder,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW,
        )?;
        let mut buffer = Vec::with_capacity(8192);
        let mut entries = RawDir::new(folder, buffer.spare_capacity_mut());
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        Ok(names)
    }
}

/// How overlayfs notes that a file is removed.
fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsStr::new("..").to_owned()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read as _, os::unix::fs::symlink};

    use rustix::fs::{CWD, mknodat};

    use super::*;

    fn layers() -> (tempfile::TempDir, Merged) {
        let folder = tempfile::tempdir().unwrap();
        let (low, high) = (folder.path().join("low"), folder.path().join("high"));
        for path in ["low/usr/lib/deep", "low/etc", "low/gone", "high/usr", "high/gone"] {
            fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        symlink("usr/lib", low.join("lib")).unwrap();
        symlink("/../../etc", low.join("usr/out")).unwrap();
        symlink("loop", low.join("loop")).unwrap();
        fs::write(low.join("etc/passwd"), "low").unwrap();
        fs::write(low.join("etc/group"), "low").unwrap();
        fs::write(low.join("gone/file"), "low").unwrap();
        fs::create_dir_all(high.join("etc")).unwrap();
        fs::write(high.join("etc/passwd"), "high").unwrap();
        // Whether the file can be made depends on the kernel and the user: since 4.18 anybody may.
        mknodat(
            CWD,
            high.join("etc/group"),
            FileType::CharacterDevice,
            Mode::empty(),
            0,
        )
        .unwrap();
        rustix::fs::setxattr(
            high.join("gone"),
            "user.overlay.opaque",
            b"y",
            rustix::fs::XattrFlags::empty(),
        )
        .unwrap();
        let merged = Merged::open(&[low, high]).unwrap();
        (folder, merged)
    }

    fn text(merged: &Merged, path: &str) -> Option<String> {
        let found = merged.find(Path::new(path)).unwrap()?;
        let mut text = String::new();
        merged.read(&found).unwrap().read_to_string(&mut text).unwrap();
        Some(text)
    }

    #[test]
    fn the_highest_layer_counts_and_what_is_removed_is_not_there() {
        let (_folder, merged) = layers();

        assert_eq!(text(&merged, "etc/passwd").as_deref(), Some("high"));
        assert_eq!(text(&merged, "etc/group"), None);
        assert_eq!(text(&merged, "gone/file"), None);
        let names = |path: &str| {
            merged
                .list(Path::new(path))
                .unwrap()
                .into_keys()
                .collect::<Vec<_>>()
        };
        assert_eq!(names("etc"), ["passwd"]);
        assert_eq!(names("gone"), [""; 0]);
        assert_eq!(names(""), ["etc", "gone", "lib", "loop", "usr"]);
    }

    #[test]
    fn links_are_followed_within_the_layers_only() {
        let (_folder, merged) = layers();
        let resolve = |path: &str| {
            merged
                .resolve(Path::new(path))
                .map_err(|error| error.raw_os_error())
        };

        assert_eq!(resolve("/lib/deep/new/file"), Ok("usr/lib/deep/new/file".into()));
        assert_eq!(resolve("usr/out/passwd"), Ok("etc/passwd".into()));
        assert_eq!(resolve("../../../etc"), Ok("etc".into()));
        assert_eq!(resolve("loop/x"), Err(Some(Errno::LOOP.raw_os_error())));
        assert_eq!(resolve("etc/passwd/x"), Err(Some(Errno::NOTDIR.raw_os_error())));
        assert!(merged.find(Path::new("lib/deep")).unwrap().is_none());
    }
}
