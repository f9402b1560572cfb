//! `COPY`, `ADD` and a recipe's files: what is chosen of one filesystem, written into a layer on top of another. Blocks.
//!
//! Where a path leads is decided by the filesystem below, whose links are followed within it. What is written goes into an
//! empty folder, beneath which the kernel follows no link at all: nothing that an image or a context contains leads outside.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, chownat, fchmod,
        mkdirat, open, openat2, symlinkat, unlinkat, utimensat,
    },
    io::Errno,
};
use sha2::{Digest as _, Sha256};

use super::{
    merged::{Found, Merged},
    pattern::{is_pattern, matches_name},
};
use crate::image::{Digest, digest::Hashing};

/// How much of /etc/passwd and /etc/group is read.
const USERS_BYTES_MAX: u64 = 1 << 20;

/// Why something was not copied.
#[derive(Debug, thiserror::Error)]
pub(super) enum CopyError {
    #[error("'{pattern}' is not there")]
    Missing { pattern: String },
    #[error("'{pattern}' leads out of where it is copied from")]
    Outside { pattern: String },
    #[error("/{path} is a folder in the image, and a file cannot take its place")]
    Folder { path: String },
    #[error("/{path} is no folder in the image")]
    NoFolder { path: String },
    #[error("the image has no user or group '{name}'; give numbers, or add it first")]
    Nobody { name: String },
    #[error("'{mode}' is no mode: write it in octal digits, 755 for example")]
    Mode { mode: String },
    #[error("/{path}: {source}")]
    Disk { path: String, source: io::Error },
}

impl CopyError {
    pub(super) fn disk(path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Disk {
            path: shown(path),
            source: source.into(),
        }
    }
}

/// Whom what is copied belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// A user and a group.
    Given(u32, u32),
    /// Whom it belonged to.
    Kept,
}

/// Where something goes, and as what.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Absolute, in the image.
    pub(super) to: PathBuf,
    /// Whether it is a folder that things are put into.
    pub(super) is_folder: bool,
    pub(super) owner: Owner,
    /// For files and folders alike, in place of their own.
    pub(super) mode: Option<u32>,
}

/// Returns what patterns mean, each of them something: paths without links.
pub(super) fn choose(from: &Merged, patterns: &[String]) -> Result<Vec<PathBuf>, CopyError> {
    let mut chosen = Vec::new();
    for pattern in patterns {
        let before = chosen.len();
        for path in expand(from, pattern)? {
            let path = from
                .resolve(&path)
                .map_err(|error| CopyError::disk(&path, error))?;
            if from
                .find(&path)
                .map_err(|error| CopyError::disk(&path, error))?
                .is_some()
            {
                chosen.push(path);
            }
        }
        if chosen.len() == before {
            return Err(CopyError::Missing {
                pattern: pattern.clone(),
            });
        }
    }
    Ok(chosen)
}

fn expand(from: &Merged, pattern: &str) -> Result<Vec<PathBuf>, CopyError> {
    let mut depth = 0_usize;
    for part in pattern.split('/').filter(|part| !matches!(*part, "" | ".")) {
        depth = match part {
            ".." => depth.checked_sub(1).ok_or_else(|| CopyError::Outside {
                pattern: pattern.to_owned(),
            })?,
            _ => depth + 1,
        };
    }
    let mut paths = vec![PathBuf::new()];
    for part in pattern.split('/').filter(|part| !matches!(*part, "" | ".")) {
        let mut next = Vec::new();
        for path in paths {
            if is_pattern(part) {
                let folder = from
                    .resolve(&path)
                    .map_err(|error| CopyError::disk(&path, error))?;
                let names = from
                    .list(&folder)
                    .map_err(|error| CopyError::disk(&path, error))?;
                let matching = names
                    .keys()
                    .filter(|name| matches_name(part, &name.to_string_lossy()));
                next.extend(matching.map(|name| path.join(name)));
            } else {
                next.push(path.join(part));
            }
        }
        paths = next;
    }
    Ok(paths)
}

/// Returns a digest of everything that is chosen: names, kinds, modes, content, and owners where they count; not times.
pub(super) fn fingerprint(from: &Merged, chosen: &[PathBuf], owner: Owner) -> Result<Digest, CopyError> {
    let mut hash = Sha256::new();
    for path in chosen {
        if let Some(found) = from.find(path).map_err(|error| CopyError::disk(path, error))? {
            // A folder's content is copied, a file under its name.
            let name = if found.is_folder() { Path::new("") } else { path };
            add_to(&mut hash, from, &found, (name, owner)).map_err(|error| CopyError::disk(path, error))?;
        }
    }
    Ok(Digest::finish(hash))
}

fn add_to(hash: &mut Sha256, from: &Merged, found: &Found, (name, owner): (&Path, Owner)) -> io::Result<()> {
    let owners = match owner {
        Owner::Given(..) => (0, 0),
        Owner::Kept => (found.stat.st_uid, found.stat.st_gid),
    };
    let name_bytes = name.as_os_str().as_encoded_bytes();
    hash.update((name_bytes.len() as u64).to_le_bytes());
    hash.update(name_bytes);
    hash.update(format!("{:o} {} {}\n", found.stat.st_mode, owners.0, owners.1));
    match found.kind() {
        FileType::Directory => {
            let entries = from.list(&found.path)?;
            hash.update((entries.len() as u64).to_le_bytes());
            for (entry, found) in entries {
                add_to(hash, from, &found, (&name.join(entry), owner))?;
            }
        }
        FileType::RegularFile => {
            let mut content = Hashing::new(io::sink());
            io::copy(&mut from.read(found)?, &mut content)?;
            let (_, digest, _) = content.finish();
            hash.update(digest.as_str());
        }
        FileType::Symlink => {
            let target = from.target(found)?;
            hash.update(Sha256::digest(target.as_os_str().as_encoded_bytes()));
        }
        _ => {}
    }
    Ok(())
}

/// A layer being filled.
pub(super) struct Upper<'a> {
    root: OwnedFd,
    below: &'a Merged,
    is_root: bool,
}

impl<'a> Upper<'a> {
    /// Takes an existing folder, which holds what was changed so far.
    pub(super) fn open(folder: &Path, below: &'a Merged) -> Result<Self, CopyError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self {
            root: open(folder, flags, Mode::empty()).map_err(|error| CopyError::disk(folder, error))?,
            below,
            is_root: rustix::process::geteuid().is_root(),
        })
    }

    /// Copies what was chosen to its place.
    pub(super) fn copy(&self, from: &Merged, chosen: &[PathBuf], target: &Target) -> Result<(), CopyError> {
        let to = self.resolve(&target.to)?;
        let is_folder =
            target.is_folder || chosen.len() > 1 || self.kind_below(&to)? == Some(FileType::Directory);
        for path in chosen {
            let found = from
                .find(path)
                .and_then(|found| found.ok_or_else(|| Errno::NOENT.into()))
                .map_err(|error| CopyError::disk(path, error))?;
            if found.is_folder() {
                self.make_folder(&to, target)?;
                self.copy_content(from, &found, &to, target)?;
            } else if is_folder {
                self.make_folder(&to, target)?;
                let name = path.file_name().unwrap_or_default();
                self.copy_one(from, &found, &to.join(name), target)?;
            } else {
                self.copy_one(from, &found, &to, target)?;
            }
        }
        Ok(())
    }

    /// Makes a folder and those above it, where they are missing; returns its path without links.
    pub(super) fn folder(&self, path: &Path) -> Result<PathBuf, CopyError> {
        let path = self.resolve(path)?;
        self.enter(&path)?;
        Ok(path)
    }

    /// Follows the links of the filesystem below.
    fn resolve(&self, path: &Path) -> Result<PathBuf, CopyError> {
        self.below.resolve(path).map_err(|error| {
            if error.kind() == io::ErrorKind::NotADirectory {
                let folder = path.parent().unwrap_or(path);
                return CopyError::NoFolder { path: shown(folder) };
            }
            CopyError::disk(path, error)
        })
    }

    fn kind_below(&self, path: &Path) -> Result<Option<FileType>, CopyError> {
        let found = self
            .below
            .find(path)
            .map_err(|error| CopyError::disk(path, error))?;
        Ok(found.map(|found| found.kind()))
    }

    /// Makes a folder that something is copied into; one that was not there gets the owner of what is copied.
    fn make_folder(&self, path: &Path, target: &Target) -> Result<(), CopyError> {
        let is_new =
            self.kind_below(path)?.is_none() && self.open_at(path, OFlags::PATH | OFlags::DIRECTORY).is_err();
        let folder = self.enter(path)?;
        if is_new && let Owner::Given(user, group) = target.owner {
            self.give(&folder, "", (user, group))
                .map_err(|error| CopyError::disk(path, error))?;
        }
        Ok(())
    }

    fn copy_content(
        &self,
        from: &Merged,
        folder: &Found,
        to: &Path,
        target: &Target,
    ) -> Result<(), CopyError> {
        let entries: BTreeMap<_, _> = from
            .list(&folder.path)
            .map_err(|error| CopyError::disk(&folder.path, error))?;
        for (name, found) in entries {
            self.copy_one(from, &found, &to.join(name), target)?;
        }
        Ok(())
    }

    fn copy_one(&self, from: &Merged, found: &Found, to: &Path, target: &Target) -> Result<(), CopyError> {
        if found.is_folder() {
            return self.copy_folder(from, found, to, target);
        }
        if self.kind_below(to)? == Some(FileType::Directory) {
            return Err(CopyError::Folder {
                path: to.display().to_string(),
            });
        }
        let parent = self.enter(to.parent().unwrap_or(Path::new("")))?;
        let name = to.file_name().unwrap_or_default();
        match unlinkat(&parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(CopyError::disk(to, error)),
        }
        let made = match found.kind() {
            FileType::RegularFile => copy_file(from, found, &parent, Path::new(name)),
            FileType::Symlink => from
                .target(found)
                .and_then(|link| Ok(symlinkat(link, &parent, name)?)),
            // Devices, pipes and sockets mean nothing in an image.
            _ => return Ok(()),
        };
        made.and_then(|()| self.finish(&parent, Path::new(name), found, target))
            .map_err(|error| CopyError::disk(to, error))
    }

    fn copy_folder(&self, from: &Merged, found: &Found, to: &Path, target: &Target) -> Result<(), CopyError> {
        // A link of the image to a folder stays one: `COPY rootfs /` with `rootfs/bin` goes where /bin leads.
        let (to, kind) = match self.kind_below(to)? {
            Some(FileType::Symlink) => {
                let to = self.resolve(to)?;
                let kind = self.kind_below(&to)?;
                (to, kind)
            }
            kind => (to.to_owned(), kind),
        };
        let folder = self.enter(&to)?;
        self.copy_content(from, found, &to, target)?;
        if kind.is_none() {
            self.finish(&folder, Path::new("."), found, target)
                .map_err(|error| CopyError::disk(&to, error))?;
        }
        Ok(())
    }

    /// Opens a folder of the layer; it and those above it are made as they are below, or as root's, readable by all.
    fn enter(&self, path: &Path) -> Result<OwnedFd, CopyError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        if let Ok(folder) = self.open_at(path, flags) {
            return Ok(folder);
        }
        let mut prefix = PathBuf::new();
        for part in path {
            let parent = self
                .open_at(&prefix, flags)
                .map_err(|error| CopyError::disk(&prefix, error))?;
            prefix.push(part);
            let below = self
                .below
                .find(&prefix)
                .map_err(|error| CopyError::disk(&prefix, error))?;
            if below.as_ref().is_some_and(|below| !below.is_folder()) {
                return Err(CopyError::NoFolder {
                    path: prefix.display().to_string(),
                });
            }
            match mkdirat(&parent, part, Mode::from_raw_mode(0o755)) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(error) => return Err(CopyError::disk(&prefix, error)),
            }
            let (mode, owner) = below.map_or((Mode::from_raw_mode(0o755), (0, 0)), |below| {
                (below.permissions(), (below.stat.st_uid, below.stat.st_gid))
            });
            let made = self
                .open_at(&prefix, flags)
                .map_err(|error| CopyError::disk(&prefix, error))?;
            self.give(&made, "", owner)
                .and_then(|()| Ok(fchmod(&made, mode)?))
                .map_err(|error| CopyError::disk(&prefix, error))?;
        }
        self.open_at(path, flags).map_err(|error| match error {
            Errno::NOTDIR | Errno::LOOP => CopyError::NoFolder {
                path: path.display().to_string(),
            },
            error => CopyError::disk(path, error),
        })
    }

    fn open_at(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), how)
    }

    /// Gives a file away; without root everything belongs to us, as everything in the store does.
    fn give(&self, at: impl AsFd, name: impl AsRef<Path>, (user, group): (u32, u32)) -> io::Result<()> {
        if self.is_root {
            let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
            chownat(
                at,
                name.as_ref(),
                Some(Uid::from_raw(user)),
                Some(Gid::from_raw(group)),
                flags,
            )?;
        }
        Ok(())
    }

    /// Sets owner, mode and time of something new.
    fn finish(&self, parent: &OwnedFd, name: &Path, found: &Found, target: &Target) -> io::Result<()> {
        let owner = match target.owner {
            Owner::Given(user, group) => (user, group),
            Owner::Kept => (found.stat.st_uid, found.stat.st_gid),
        };
        self.give(parent, name, owner)?;
        if found.kind() != FileType::Symlink {
            let mode = target
                .mode
                .map_or_else(|| found.permissions(), Mode::from_raw_mode);
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let made = openat2(
                parent,
                name,
                flags,
                Mode::empty(),
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
            )?;
            fchmod(made, mode)?;
        }
        let time = Timespec {
            tv_sec: found.stat.st_mtime,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        Ok(utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

fn copy_file(from: &Merged, found: &Found, parent: &OwnedFd, name: &Path) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let mut made: File = openat2(parent, name, flags, Mode::from_raw_mode(0o600), how)?.into();
    io::copy(&mut from.read(found)?, &mut made)?;
    made.flush()
}

/// Returns a path of an image without the slash in front, which messages have.
fn shown(path: &Path) -> String {
    path.strip_prefix("/").unwrap_or(path).display().to_string()
}

/// Reads a mode in octal digits.
pub(super) fn mode(text: &str) -> Result<u32, CopyError> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| CopyError::Mode {
            mode: text.to_owned(),
        })
}

/// Looks `user`, `uid`, `user:group` or `uid:gid` up in an image. A number without a group is its own group.
pub(super) fn owner(image: &Merged, text: &str) -> Result<(u32, u32), CopyError> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let nobody = |name: &str| CopyError::Nobody {
        name: name.to_owned(),
    };
    let (user_id, own_group) = match user.parse() {
        Ok(id) => (id, id),
        Err(_) => {
            let fields = entry(image, "etc/passwd", user)?.ok_or_else(|| nobody(user))?;
            let number = |at: usize| {
                fields
                    .get(at)
                    .and_then(|field| field.parse().ok())
                    .ok_or_else(|| nobody(user))
            };
            (number(2)?, number(3)?)
        }
    };
    let group_id = match group {
        None => own_group,
        Some(group) => match group.parse() {
            Ok(id) => id,
            Err(_) => entry(image, "etc/group", group)?
                .and_then(|fields| fields.get(2)?.parse().ok())
                .ok_or_else(|| nobody(group))?,
        },
    };
    Ok((user_id, group_id))
}

/// Returns the fields of a line of /etc/passwd or /etc/group.
fn entry(image: &Merged, file: &str, name: &str) -> Result<Option<Vec<String>>, CopyError> {
    let failed = |error: io::Error| CopyError::disk(Path::new(file), error);
    let path = image.resolve(Path::new(file)).map_err(failed)?;
    let Some(found) = image
        .find(&path)
        .map_err(failed)?
        .filter(|found| found.kind() == FileType::RegularFile)
    else {
        return Ok(None);
    };
    let mut text = Vec::new();
    image
        .read(&found)
        .and_then(|file| file.take(USERS_BYTES_MAX).read_to_end(&mut text))
        .map_err(failed)?;
    Ok(String::from_utf8_lossy(&text)
        .lines()
        .map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>())
        .find(|fields| fields.first().is_some_and(|first| first == name)))
}
