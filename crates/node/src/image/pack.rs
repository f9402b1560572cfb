//! From a folder to a layer's tar: the same bytes for the same content, whenever and wherever it is packed.

use std::{
    ffi::OsStr,
    fs::{self, File, Metadata},
    io::{self, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, OFlags, Timespec, Timestamps, XattrFlags, utimensat},
    io::Errno,
};
use tar::{Builder, EntryType, Header};
use tokio_util::sync::CancellationToken;

use super::unpack::{UnpackError, UnpackLimits};

/// The deepest folder, as when unpacking.
const DEPTH_MAX: usize = 256;
/// The most bytes of the names, or of one value, of extended attributes (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const XATTR_BYTES_MAX: usize = 64 << 10;

/// Packs what is in `folder`, the writable side of an overlay, as a layer; returns the bytes of all files and the writer.
///
/// Names are sorted, times later than `epoch_s` become it, and what overlayfs notes of removed files becomes whiteouts. The
/// folder is made equal to what is packed: times, no devices, no other notes of overlayfs.
///
/// # Errors
///
/// When there is more than the limits allow, or the disk is full.
pub(super) fn pack<W: Write>(
    folder: &Path,
    epoch_s: u64,
    limits: UnpackLimits,
    stop: &CancellationToken,
    writer: W,
) -> Result<(u64, W), UnpackError> {
    let mut packer = Packer {
        tar: Builder::new(writer),
        root: folder.to_owned(),
        epoch_s,
        limits,
        stop,
        is_root: rustix::process::geteuid().is_root(),
        links: std::collections::HashMap::new(),
        bytes: 0,
        entries: 0,
    };
    packer.folder(&PathBuf::new(), 0)?;
    let bytes = packer.bytes;
    let writer = packer
        .tar
        .into_inner()
        .map_err(|error| UnpackError::disk_at(folder, error))?;
    Ok((bytes, writer))
}

struct Packer<'a, W: Write> {
    tar: Builder<W>,
    root: PathBuf,
    epoch_s: u64,
    limits: UnpackLimits,
    stop: &'a CancellationToken,
    is_root: bool,
    /// The first path of every file that has several, by device and inode.
    links: std::collections::HashMap<(u64, u64), PathBuf>,
    bytes: u64,
    entries: u64,
}

impl<W: Write> Packer<'_, W> {
    fn folder(&mut self, path: &Path, depth: usize) -> Result<(), UnpackError> {
        if depth > DEPTH_MAX {
            return Err(UnpackError::Limit {
                what: "folders inside of each other",
                limit: DEPTH_MAX as u64,
            });
        }
        let place = self.root.join(path);
        let failed = |error| UnpackError::disk_at(path, error);
        if take_opaque(&place).map_err(failed)? {
            self.whiteout(&path.join(".wh..wh..opq"))?;
            let name = if self.is_root {
                "trusted.overlay.opaque"
            } else {
                "user.overlay.opaque"
            };
            rustix::fs::lsetxattr(&place, name, b"y", XattrFlags::empty())
                .map_err(|error| failed(error.into()))?;
        }
        let mut names: Vec<_> = fs::read_dir(&place)
            .and_then(|entries| {
                entries
                    .map(|entry| Ok(entry?.file_name()))
                    .collect::<io::Result<_>>()
            })
            .map_err(failed)?;
        names.sort();
        for name in names {
            self.entry(path, &name, depth)?;
        }
        if depth > 0 {
            let metadata = fs::symlink_metadata(&place).map_err(failed)?;
            self.touch(&place, &metadata).map_err(failed)?;
        }
        Ok(())
    }

    fn entry(&mut self, folder: &Path, name: &OsStr, depth: usize) -> Result<(), UnpackError> {
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
        let path = folder.join(name);
        let place = self.root.join(&path);
        let failed = |error| UnpackError::disk_at(&path, error);
        let metadata = fs::symlink_metadata(&place).map_err(failed)?;
        let kind = metadata.file_type();
        if kind.is_char_device() && metadata.rdev() == 0 {
            let mut hidden = b".wh.".to_vec();
            hidden.extend_from_slice(name.as_bytes());
            return self.whiteout(&folder.join(OsStr::from_bytes(&hidden)));
        }
        if name.as_bytes().starts_with(b".wh.") {
            return Err(UnpackError::entry_at(
                &path,
                "has a name that means a removed file in a layer",
            ));
        }
        if kind.is_dir() {
            self.head(&path, &place, &metadata, EntryType::Directory)
                .map_err(failed)?;
            return self.folder(&path, depth + 1);
        }
        if kind.is_symlink() {
            self.symlink(&path, &place, &metadata).map_err(failed)
        } else if kind.is_file() {
            self.regular(&path, &place, &metadata)
        } else {
            // Sockets, pipes and devices: instances have their own.
            fs::remove_file(&place).map_err(failed)
        }
    }

    fn regular(&mut self, path: &Path, place: &Path, metadata: &Metadata) -> Result<(), UnpackError> {
        let failed = |error| UnpackError::disk_at(path, error);
        if metadata.nlink() > 1 {
            let id = (metadata.dev(), metadata.ino());
            if let Some(first) = self.links.get(&id).cloned() {
                let mut header = self.header(metadata, EntryType::Link);
                return self.tar.append_link(&mut header, path, &first).map_err(failed);
            }
            self.links.insert(id, path.to_owned());
        }
        self.bytes = self.bytes.saturating_add(metadata.len());
        if self.bytes > self.limits.bytes_max {
            return Err(UnpackError::Limit {
                what: "bytes",
                limit: self.limits.bytes_max,
            });
        }
        self.xattrs(place).map_err(failed)?;
        let mut header = self.header(metadata, EntryType::Regular);
        header.set_size(metadata.len());
        let file = rustix::fs::open(
            place,
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .map_err(|error| failed(error.into()))?;
        let content = io::Read::take(File::from(file), metadata.len());
        self.tar
            .append_data(&mut header, path, content)
            .and_then(|()| self.touch(place, metadata))
            .map_err(failed)
    }

    fn symlink(&mut self, path: &Path, place: &Path, metadata: &Metadata) -> io::Result<()> {
        let target = fs::read_link(place)?;
        self.xattrs(place)?;
        let mut header = self.header(metadata, EntryType::Symlink);
        // Whatever it says: append_link would tidy the target.
        if target.as_os_str().len() <= 100 {
            header.set_link_name_literal(target.as_os_str().as_bytes())?;
            self.tar.append_data(&mut header, path, io::empty())?;
        } else {
            self.tar
                .append_pax_extensions([("linkpath", target.as_os_str().as_bytes())])?;
            self.tar.append_data(&mut header, path, io::empty())?;
        }
        self.touch(place, metadata)
    }

    /// Writes an entry that has no content.
    fn head(&mut self, path: &Path, place: &Path, metadata: &Metadata, kind: EntryType) -> io::Result<()> {
        self.xattrs(place)?;
        let mut header = self.header(metadata, kind);
        self.tar.append_data(&mut header, path, io::empty())
    }

    fn whiteout(&mut self, path: &Path) -> Result<(), UnpackError> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.epoch_s);
        header.set_size(0);
        self.tar
            .append_data(&mut header, path, io::empty())
            .map_err(|error| UnpackError::disk_at(path, error))
    }

    fn header(&self, metadata: &Metadata, kind: EntryType) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(metadata.permissions().mode() & 0o7777);
        // Without root all files are ours, who is root inside.
        let (uid, gid) = if self.is_root {
            (metadata.uid(), metadata.gid())
        } else {
            (0, 0)
        };
        header.set_uid(u64::from(uid));
        header.set_gid(u64::from(gid));
        header.set_mtime(self.mtime(metadata));
        header.set_size(0);
        header
    }

    fn mtime(&self, metadata: &Metadata) -> u64 {
        u64::try_from(metadata.mtime()).unwrap_or(0).min(self.epoch_s)
    }

    fn touch(&self, place: &Path, metadata: &Metadata) -> io::Result<()> {
        let time = Timespec {
            tv_sec: i64::try_from(self.mtime(metadata)).unwrap_or(0),
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        Ok(utimensat(CWD, place, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Writes the extended attributes of the entry that follows, in order.
    fn xattrs(&mut self, place: &Path) -> io::Result<()> {
        let mut records = Vec::new();
        for name in xattr_names(place)? {
            let is_kept = (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
                || name == b"security.capability";
            if is_kept {
                let mut value = vec![0; XATTR_BYTES_MAX];
                let bytes = rustix::fs::lgetxattr(place, name.as_slice(), value.as_mut_slice())?;
                value.truncate(bytes);
                let key = format!("SCHILY.xattr.{}", String::from_utf8_lossy(&name));
                records.push((key, value));
            }
        }
        records.sort();
        if records.is_empty() {
            return Ok(());
        }
        self.tar.append_pax_extensions(
            records
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_slice())),
        )
    }
}

/// Removes the notes of overlayfs from a folder; returns whether it hid what is below.
fn take_opaque(place: &Path) -> io::Result<bool> {
    let mut is_opaque = false;
    for name in xattr_names(place)? {
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
            let mut value = [0; 16];
            let bytes = rustix::fs::lgetxattr(place, name.as_slice(), &mut value).unwrap_or(0);
            is_opaque |= name.ends_with(b".opaque") && &value[..bytes] == b"y";
            rustix::fs::lremovexattr(place, name.as_slice())?;
        }
    }
    Ok(is_opaque)
}

fn xattr_names(place: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut list = vec![0; XATTR_BYTES_MAX];
    let bytes = match rustix::fs::llistxattr(place, list.as_mut_slice()) {
        Ok(bytes) => bytes,
        Err(Errno::NOTSUP) => 0,
        Err(error) => return Err(error.into()),
    };
    list.truncate(bytes);
    Ok(list
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .collect())
}
