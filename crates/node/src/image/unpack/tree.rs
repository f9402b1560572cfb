//! Files below one folder, made as an archive says and never anywhere else.

use std::{
    fs::File,
    io::{Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::Path,
};

use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, fchmod, linkat, mkdirat, openat,
        openat2, statat, symlinkat,
    },
    io::Errno,
};
use tar::EntryType;
use tokio_util::sync::CancellationToken;

use super::{
    UnpackError,
    entries::{Entries, Entry, Sparse},
    place::{Place, hide, mark_opaque, set_xattr, times},
};

/// The longest path and target of a link, in bytes (`PATH_MAX` with its end).
const PATH_BYTES_MAX: usize = 4095;
/// The deepest folder: far more than any program makes, far less than what makes tools overflow.
const DEPTH_MAX: usize = 256;
/// The most bytes of one extended attribute (`XATTR_SIZE_MAX`).
const XATTR_BYTES_MAX: usize = 64 << 10;
const COPY_BYTES: usize = 256 << 10;
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What else begins like this belongs to aufs, and says nothing to anybody else.
const AUFS: &[u8] = b".wh..wh.";

/// What names in the archive mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A layer: `.wh.x` says that `x` of the layers below is removed (OCI image specification, `layer.md`), and becomes
    /// what overlayfs takes for that.
    Layer,
    /// Nothing but themselves.
    Plain,
}

/// How much an archive may unpack to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnpackLimits {
    /// Bytes of all files.
    pub(crate) bytes_max: u64,
    /// Files, folders and links.
    pub(crate) entries_max: u64,
}

/// A folder being filled.
pub(super) struct Tree<'a> {
    root: OwnedFd,
    meaning: Meaning,
    limits: UnpackLimits,
    stop: &'a CancellationToken,
    /// Whether files may be given away: without root they belong to us.
    is_root: bool,
    bytes: u64,
    entries: u64,
    left_out: u64,
    /// The folder of the entry before: the next one mostly is in the same.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// Folders whose modes and times are set when nothing is written into them any more.
    folders: Vec<(Vec<u8>, Mode, u64)>,
    buffer: Vec<u8>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(
        folder: &Path,
        meaning: Meaning,
        limits: UnpackLimits,
        stop: &'a CancellationToken,
    ) -> Result<Self, UnpackError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(folder, flags, Mode::empty())
            .map_err(|error| UnpackError::disk_at(folder, error))?;
        Ok(Self {
            root,
            meaning,
            limits,
            stop,
            is_root: rustix::process::geteuid().is_root(),
            bytes: 0,
            entries: 0,
            left_out: 0,
            parent: None,
            folders: Vec::new(),
            buffer: vec![0; COPY_BYTES],
        })
    }

    /// Makes all that an archive says, and returns its reader.
    pub(super) fn take<R: Read>(&mut self, archive: R) -> Result<R, UnpackError> {
        let mut entries = Entries::new(archive);
        while let Some(entry) = entries.next()? {
            if self.stop.is_cancelled() {
                return Err(UnpackError::Stopped);
            }
            self.entries += 1;
            if self.entries > self.limits.entries_max {
                return Err(UnpackError::Limit {
                    what: "files",
                    limit: self.limits.entries_max,
                });
            }
            self.make(&entry, &mut entries)?;
        }
        Ok(entries.into_inner())
    }

    /// Sets what was left for the end. Returns the bytes of all files, and how many entries were left out.
    pub(super) fn finish(self) -> Result<(u64, u64), UnpackError> {
        // The deepest first: without root, a folder may become one that cannot be entered.
        for (path, mode, mtime) in self.folders.iter().rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            let folder = match self.open(path, flags, ResolveFlags::NO_SYMLINKS) {
                Ok(folder) => folder,
                // Another entry took its place.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(error) => return Err(UnpackError::disk(path, error)),
            };
            fchmod(&folder, *mode).map_err(|error| UnpackError::disk(path, error))?;
            rustix::fs::futimens(&folder, &times(*mtime)).map_err(|error| UnpackError::disk(path, error))?;
        }
        Ok((self.bytes, self.left_out))
    }

    fn make<R: Read>(&mut self, entry: &Entry, content: &mut Entries<R>) -> Result<(), UnpackError> {
        let (parent, name) = split(&entry.path)?;
        if name.is_empty() {
            return self.make_root(entry);
        }
        let parent_fd = self.enter(&parent)?;
        let place = Place {
            parent: parent_fd.as_fd(),
            name: &name,
            path: &entry.path,
        };
        let made = match (self.meaning, name.as_slice()) {
            (Meaning::Layer, OPAQUE) => {
                mark_opaque(place.parent, self.is_root).map_err(|error| UnpackError::disk(&entry.path, error))
            }
            (Meaning::Layer, aufs) if aufs.starts_with(AUFS) => Ok(()),
            (Meaning::Layer, hidden) if hidden.starts_with(WHITEOUT) => {
                let hidden = &hidden[WHITEOUT.len()..];
                hide(
                    &Place {
                        name: hidden,
                        ..place
                    },
                    self.is_root,
                )
            }
            _ => self.make_file(&place, entry, &parent, content),
        };
        self.parent = Some((parent, parent_fd));
        made
    }

    /// What an archive says of its uppermost folder.
    fn make_root(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        if entry.kind != EntryType::Directory {
            return Err(UnpackError::entry(&entry.path, "has no name"));
        }
        let place = Place {
            parent: self.root.as_fd(),
            name: b".",
            path: &entry.path,
        };
        self.give(&place, entry)?;
        self.folders.push((Vec::new(), mode_of(entry), entry.mtime));
        Ok(())
    }

    fn make_file<R: Read>(
        &mut self,
        place: &Place<'_>,
        entry: &Entry,
        parent: &[u8],
        content: &mut Entries<R>,
    ) -> Result<(), UnpackError> {
        match entry.kind {
            EntryType::Directory => self.make_folder(place, entry, parent),
            EntryType::Symlink => self.make_symlink(place, entry),
            EntryType::Link => self.make_link(place, entry),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.make_regular(place, entry, content)
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                // Instances have devices of their own; those of an archive could be the host's disks.
                self.left_out += 1;
                Ok(())
            }
            _ => Err(UnpackError::entry(
                &entry.path,
                "is of a kind that is not known here",
            )),
        }
    }

    fn make_folder(&mut self, place: &Place<'_>, entry: &Entry, parent: &[u8]) -> Result<(), UnpackError> {
        match mkdirat(place.parent, place.name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => match place.kind()? {
                Some(FileType::Directory) => {}
                former => {
                    place.unlink()?;
                    mkdirat(place.parent, place.name, Mode::RWXU).map_err(|error| place.failed(error))?;
                    if former == Some(FileType::CharacterDevice) {
                        // It was removed and is made anew: nothing of the one below shows through.
                        let folder = place.open_folder()?;
                        mark_opaque(folder.as_fd(), self.is_root).map_err(|error| place.failed(error))?;
                    }
                }
            },
            Err(error) => return Err(place.failed(error)),
        }
        self.give(place, entry)?;
        let mut path = parent.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(place.name);
        self.folders.push((path, mode_of(entry), entry.mtime));
        Ok(())
    }

    fn make_symlink(&self, place: &Place<'_>, entry: &Entry) -> Result<(), UnpackError> {
        check_text(&entry.link, &entry.path)?;
        place.make_room()?;
        symlinkat(entry.link.as_slice(), place.parent, place.name).map_err(|error| place.failed(error))?;
        self.give(place, entry)?;
        place.touch(entry.mtime)
    }

    fn make_link(&mut self, place: &Place<'_>, entry: &Entry) -> Result<(), UnpackError> {
        let (parent, name) = split(&entry.link)?;
        let target = self
            .open(
                &parent,
                OFlags::PATH | OFlags::DIRECTORY,
                ResolveFlags::NO_MAGICLINKS,
            )
            .ok()
            .filter(|_| !name.is_empty())
            .and_then(|parent| {
                let stat = statat(&parent, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
                let kind = FileType::from_raw_mode(stat.st_mode);
                matches!(kind, FileType::RegularFile | FileType::Symlink).then_some(parent)
            })
            .ok_or_else(|| {
                UnpackError::entry(
                    &entry.path,
                    format!(
                        "is a hard link to '{}', which is no file of this archive",
                        String::from_utf8_lossy(&entry.link).escape_debug()
                    ),
                )
            })?;
        if place.is_same_as(&target, &name) {
            return Ok(());
        }
        place.make_room()?;
        linkat(
            &target,
            name.as_slice(),
            place.parent,
            place.name,
            AtFlags::empty(),
        )
        .map_err(|error| place.failed(error))
    }

    fn make_regular<R: Read>(
        &mut self,
        place: &Place<'_>,
        entry: &Entry,
        content: &mut Entries<R>,
    ) -> Result<(), UnpackError> {
        let bytes = entry.sparse.as_ref().map_or(entry.bytes, |sparse| sparse.bytes);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limits.bytes_max {
            return Err(UnpackError::Limit {
                what: "bytes",
                limit: self.limits.bytes_max,
            });
        }
        place.make_room()?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(place.parent, place.name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| place.failed(error))?;
        let mut file = File::from(file);
        match &entry.sparse {
            None => self.fill(place, entry.bytes, &mut file, content)?,
            Some(sparse) => self.fill_sparse(place, sparse, &file, content)?,
        }
        self.give(place, entry)?;
        // After the owner: a change of owner takes set-uid bits away.
        fchmod(&file, mode_of(entry)).map_err(|error| place.failed(error))?;
        rustix::fs::futimens(&file, &times(entry.mtime)).map_err(|error| place.failed(error))
    }

    fn fill<R: Read>(
        &mut self,
        place: &Place<'_>,
        bytes: u64,
        file: &mut File,
        content: &mut Entries<R>,
    ) -> Result<(), UnpackError> {
        let mut left = bytes;
        while left > 0 {
            let read = self.piece(content, left)?;
            file.write_all(&self.buffer[..read])
                .map_err(|error| place.failed(error))?;
            left -= read as u64;
        }
        Ok(())
    }

    fn fill_sparse<R: Read>(
        &mut self,
        place: &Place<'_>,
        sparse: &Sparse,
        file: &File,
        content: &mut Entries<R>,
    ) -> Result<(), UnpackError> {
        for piece in &sparse.pieces {
            let mut done = 0;
            while done < piece.bytes {
                let read = self.piece(content, piece.bytes - done)?;
                file.write_all_at(&self.buffer[..read], piece.offset + done)
                    .map_err(|error| place.failed(error))?;
                done += read as u64;
            }
        }
        file.set_len(sparse.bytes).map_err(|error| place.failed(error))
    }

    fn piece<R: Read>(&mut self, content: &mut Entries<R>, left: u64) -> Result<usize, UnpackError> {
        if self.stop.is_cancelled() {
            return Err(UnpackError::Stopped);
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
        match content.read(&mut self.buffer[..most]) {
            Ok(0) => Err(UnpackError::broken("it ends inside of a file")),
            Ok(read) => Ok(read),
            Err(error) => Err(UnpackError::broken(error.to_string())),
        }
    }

    /// Sets the owner and the extended attributes.
    fn give(&self, place: &Place<'_>, entry: &Entry) -> Result<(), UnpackError> {
        if self.is_root {
            let id = |id: u64| {
                u32::try_from(id)
                    .ok()
                    .filter(|id| *id != u32::MAX)
                    .ok_or_else(|| UnpackError::entry(&entry.path, "has an owner beyond 32 bits"))
            };
            let (uid, gid) = (Uid::from_raw(id(entry.uid)?), Gid::from_raw(id(entry.gid)?));
            chownat(
                place.parent,
                place.name,
                Some(uid),
                Some(gid),
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .map_err(|error| place.failed(error))?;
        }
        for (name, value) in &entry.xattrs {
            if !is_kept(name, self.is_root) || value.len() > XATTR_BYTES_MAX {
                continue;
            }
            // A filesystem without extended attributes loses them; no program stops working for that.
            match set_xattr(place, name, value) {
                Ok(()) | Err(Errno::NOTSUP | Errno::PERM | Errno::INVAL) => {}
                Err(error) => return Err(place.failed(error)),
            }
        }
        Ok(())
    }

    /// Opens the folder at a path of names, which is made where it is not there.
    fn enter(&mut self, path: &[u8]) -> Result<OwnedFd, UnpackError> {
        match self.parent.take() {
            Some((same, folder)) if same == path => return Ok(folder),
            _ => {}
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match self.open(path, flags, ResolveFlags::NO_MAGICLINKS) {
            Ok(folder) => return Ok(folder),
            Err(Errno::NOENT) => {}
            Err(Errno::NOTDIR) => return Err(UnpackError::entry(path, "is a file and a folder")),
            Err(Errno::LOOP) => return Err(UnpackError::entry(path, "is a circle of links")),
            Err(error) => return Err(UnpackError::disk(path, error)),
        }
        let (above, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&[][..], path),
        };
        let above = self.enter(above)?;
        match mkdirat(&above, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                return Err(UnpackError::entry(path, "leads through a link to nowhere"));
            }
            Err(error) => return Err(UnpackError::disk(path, error)),
        }
        self.open(path, flags, ResolveFlags::NO_MAGICLINKS)
            .map_err(|error| UnpackError::disk(path, error))
    }

    /// Opens what is at a path, as a process whose root is this folder would find it.
    fn open(&self, path: &[u8], flags: OFlags, how: ResolveFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { &b"."[..] } else { path };
        let flags = flags | OFlags::CLOEXEC;
        for _ in 0..OPEN_ATTEMPTS_MAX {
            match openat2(
                &self.root,
                path,
                flags,
                Mode::empty(),
                how | ResolveFlags::IN_ROOT,
            ) {
                // Something else on the machine was moved meanwhile (`man 2 openat2`).
                Err(Errno::AGAIN) => {}
                result => return result,
            }
        }
        Err(Errno::AGAIN)
    }
}

const OPEN_ATTEMPTS_MAX: usize = 64;

/// Which extended attributes are kept: those of programs, and capabilities of files. Those of overlayfs would redirect it.
fn is_kept(name: &[u8], is_root: bool) -> bool {
    !name.contains(&0)
        && name.len() <= 255
        && ((name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
            || (is_root && name == b"security.capability"))
}

/// Takes a path apart: that of its folder, with nothing but names in it, and its own name. A leading slash is the root of the
/// archive, as for everybody who unpacks layers.
fn split(path: &[u8]) -> Result<(Vec<u8>, Vec<u8>), UnpackError> {
    check_text(path, path)?;
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => return Err(UnpackError::entry(path, "leads out of its folder")),
            name if name.len() > 255 => {
                return Err(UnpackError::entry(path, "has a name of more than 255 bytes"));
            }
            name => names.push(name),
        }
    }
    if names.len() > DEPTH_MAX {
        return Err(UnpackError::entry(
            path,
            format!("is more than {DEPTH_MAX} folders deep"),
        ));
    }
    let name = names.pop().unwrap_or_default().to_vec();
    Ok((names.join(&b'/'), name))
}

fn check_text(text: &[u8], path: &[u8]) -> Result<(), UnpackError> {
    if text.contains(&0) {
        return Err(UnpackError::entry(path, "has a NUL in a path"));
    }
    if text.len() > PATH_BYTES_MAX {
        return Err(UnpackError::entry(
            path,
            format!("has a path of more than {PATH_BYTES_MAX} bytes"),
        ));
    }
    if text.is_empty() {
        return Err(UnpackError::entry(path, "has an empty path"));
    }
    Ok(())
}

fn mode_of(entry: &Entry) -> Mode {
    Mode::from_raw_mode(entry.mode & 0o7777)
}
