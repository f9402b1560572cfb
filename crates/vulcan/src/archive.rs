//! Packing a folder into a tar.gz for upload: the same folder always gives the same bytes.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

use flate2::{Compression, GzBuilder, write::GzEncoder};

/// Names that are left out wherever they stand.
const SKIPPED: [&str; 1] = [".git"];

/// What an archive may hold; the server has the same limits and checks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackLimits {
    /// The packed size: what fits, in base64, into the largest request.
    pub(crate) packed_bytes_max: usize,
    /// The sum of all file sizes.
    pub(crate) content_bytes_max: u64,
    /// Files, folders and links.
    pub(crate) entries_max: usize,
}

impl Default for PackLimits {
    fn default() -> Self {
        Self {
            packed_bytes_max: 47 << 20,
            content_bytes_max: 512 << 20,
            entries_max: 10_000,
        }
    }
}

/// Why a folder could not be packed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    /// A file could not be read.
    #[error("could not read {}", .path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An entry that an archive of code cannot hold.
    #[error("{} is {what}", .path.display())]
    Entry {
        /// Which one.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// One of the limits is reached.
    #[error("{} has more than {limit} {what}", .path.display())]
    TooLarge {
        /// The folder or file.
        path: PathBuf,
        /// How much is allowed.
        limit: u64,
        /// Of what.
        what: &'static str,
    },
}

/// Packs a folder: names sorted, no times, no owners, plain permissions, without `.git`.
///
/// # Errors
///
/// [`ArchiveError`].
pub(crate) fn pack_folder(folder: &Path, limits: PackLimits) -> Result<Vec<u8>, ArchiveError> {
    let mut pack = Pack::new(folder, limits);
    pack.folder(Path::new(""))?;
    pack.finish()
}

/// Packs one file as an executable under its own name.
///
/// # Errors
///
/// [`ArchiveError`].
pub(crate) fn pack_executable(file: &Path, name: &str, limits: PackLimits) -> Result<Vec<u8>, ArchiveError> {
    let root = file.parent().unwrap_or(Path::new(""));
    let mut pack = Pack::new(root, limits);
    pack.file(file, Path::new(name), 0o755)?;
    pack.finish()
}

struct Pack<'a> {
    root: &'a Path,
    limits: PackLimits,
    builder: tar::Builder<GzEncoder<Bounded>>,
    content_bytes: u64,
    entries: usize,
}

impl<'a> Pack<'a> {
    fn new(root: &'a Path, limits: PackLimits) -> Self {
        let bounded = Bounded {
            bytes: Vec::new(),
            bytes_max: limits.packed_bytes_max,
        };
        let encoder = GzBuilder::new().mtime(0).write(bounded, Compression::default());
        Self {
            root,
            limits,
            builder: tar::Builder::new(encoder),
            content_bytes: 0,
            entries: 0,
        }
    }

    fn folder(&mut self, relative: &Path) -> Result<(), ArchiveError> {
        let path = self.root.join(relative);
        let unreadable = |source| ArchiveError::Read {
            path: path.clone(),
            source,
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(unreadable)? {
            names.push(entry.map_err(unreadable)?.file_name());
            self.count_entry()?;
        }
        names.sort_unstable();
        for name in names {
            if !SKIPPED.iter().any(|skipped| name == *skipped) {
                self.entry(&relative.join(name))?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, relative: &Path) -> Result<(), ArchiveError> {
        let path = self.root.join(relative);
        let meta = fs::symlink_metadata(&path).map_err(|source| ArchiveError::Read {
            path: path.clone(),
            source,
        })?;
        let kind = meta.file_type();
        if kind.is_dir() {
            let mut header = header(tar::EntryType::Directory, 0o755, 0);
            self.append(&path, |builder| {
                builder.append_data(&mut header, relative, io::empty())
            })?;
            return self.folder(relative);
        }
        if kind.is_symlink() {
            return self.link(&path, relative);
        }
        if kind.is_file() {
            let is_executable = meta.permissions().mode() & 0o111 != 0;
            return self.file(&path, relative, if is_executable { 0o755 } else { 0o644 });
        }
        let what = if kind.is_socket() {
            "a socket"
        } else if kind.is_fifo() {
            "a pipe"
        } else {
            "a device"
        };
        Err(ArchiveError::Entry { path, what })
    }

    fn file(&mut self, path: &Path, relative: &Path, mode: u32) -> Result<(), ArchiveError> {
        let unreadable = |source| ArchiveError::Read {
            path: path.to_owned(),
            source,
        };
        let file = fs::File::open(path).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        self.content_bytes = self.content_bytes.saturating_add(size);
        if self.content_bytes > self.limits.content_bytes_max {
            return Err(self.too_large(self.limits.content_bytes_max, "bytes of files"));
        }
        let mut header = header(tar::EntryType::Regular, mode, size);
        // A file that grows while it is read must not break the archive.
        let content = file.take(size);
        self.append(path, |builder| {
            builder.append_data(&mut header, relative, content)
        })
    }

    fn link(&mut self, path: &Path, relative: &Path) -> Result<(), ArchiveError> {
        let target = fs::read_link(path).map_err(|source| ArchiveError::Read {
            path: path.to_owned(),
            source,
        })?;
        if !stays_inside(relative, &target) {
            return Err(ArchiveError::Entry {
                path: path.to_owned(),
                what: "a link to something outside of the folder",
            });
        }
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        self.append(path, |builder| {
            builder.append_link(&mut header, relative, &target)
        })
    }

    fn append(
        &mut self,
        path: &Path,
        append: impl FnOnce(&mut tar::Builder<GzEncoder<Bounded>>) -> io::Result<()>,
    ) -> Result<(), ArchiveError> {
        match append(&mut self.builder) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.write_error(path, error)),
        }
    }

    fn finish(self) -> Result<Vec<u8>, ArchiveError> {
        let (root, limits) = (self.root.to_owned(), self.limits);
        let bounded = self.builder.into_inner().and_then(GzEncoder::finish);
        bounded
            .map(|bounded| bounded.bytes)
            .map_err(|_| ArchiveError::TooLarge {
                path: root,
                limit: limits.packed_bytes_max as u64,
                what: "bytes when packed",
            })
    }

    fn count_entry(&mut self) -> Result<(), ArchiveError> {
        self.entries += 1;
        if self.entries > self.limits.entries_max {
            return Err(self.too_large(self.limits.entries_max as u64, "entries"));
        }
        Ok(())
    }

    fn write_error(&self, path: &Path, source: io::Error) -> ArchiveError {
        if source.kind() == io::ErrorKind::FileTooLarge {
            return self.too_large(self.limits.packed_bytes_max as u64, "bytes when packed");
        }
        ArchiveError::Read {
            path: path.to_owned(),
            source,
        }
    }

    fn too_large(&self, limit: u64, what: &'static str) -> ArchiveError {
        ArchiveError::TooLarge {
            path: self.root.to_owned(),
            limit,
            what,
        }
    }
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Returns whether a link at `link` that says `target` leads to a place inside of the root, by its text.
fn stays_inside(link: &Path, target: &Path) -> bool {
    let mut depth = link.components().count().saturating_sub(1);
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

/// Takes bytes up to a limit.
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn project() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("lib/deep")).unwrap();
        fs::create_dir_all(root.join(".git/objects")).unwrap();
        fs::write(root.join(".git/config"), "secret").unwrap();
        fs::write(root.join("main.py"), "print(1)").unwrap();
        fs::write(root.join("lib/deep/a.py"), "").unwrap();
        fs::write(root.join("run.sh"), "true").unwrap();
        fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(0o770)).unwrap();
        symlink("../main.py", root.join("lib/link")).unwrap();
        folder
    }

    fn entries(bytes: &[u8]) -> Vec<(String, u32)> {
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes));
        let entries = archive.entries().unwrap();
        entries
            .map(|entry| {
                let entry = entry.unwrap();
                (
                    entry.path().unwrap().display().to_string(),
                    entry.header().mode().unwrap(),
                )
            })
            .collect()
    }

    #[test]
    fn a_folder_is_packed_sorted_without_git_and_with_plain_permissions() {
        let folder = project();
        let bytes = pack_folder(folder.path(), PackLimits::default()).unwrap();
        let expected = [
            ("lib", 0o755),
            ("lib/deep", 0o755),
            ("lib/deep/a.py", 0o644),
            ("lib/link", 0o777),
            ("main.py", 0o644),
            ("run.sh", 0o755),
        ];
        assert_eq!(
            entries(&bytes),
            expected.map(|(name, mode)| (name.to_owned(), mode))
        );
    }

    #[test]
    fn the_same_content_gives_the_same_bytes() {
        let pack = |folder: &tempfile::TempDir| pack_folder(folder.path(), PackLimits::default()).unwrap();
        assert_eq!(pack(&project()), pack(&project()));
    }

    #[test]
    fn a_link_that_leaves_the_folder_is_refused_by_name() {
        for target in ["/etc/passwd", "../../outside", "deep/../../../x"] {
            let folder = project();
            symlink(target, folder.path().join("lib/bad")).unwrap();
            let error = pack_folder(folder.path(), PackLimits::default()).unwrap_err();
            assert!(error.to_string().contains("lib/bad is a link"), "{error}");
        }
    }

    #[test]
    fn a_socket_is_refused() {
        let folder = project();
        let _listener = std::os::unix::net::UnixListener::bind(folder.path().join("s")).unwrap();
        let error = pack_folder(folder.path(), PackLimits::default()).unwrap_err();
        assert!(error.to_string().ends_with("s is a socket"), "{error}");
    }

    #[test]
    fn every_limit_holds() {
        let folder = project();
        fs::write(folder.path().join("zero"), vec![0; 100_000]).unwrap();
        let limits = [
            PackLimits {
                packed_bytes_max: 64,
                ..PackLimits::default()
            },
            PackLimits {
                content_bytes_max: 99_999,
                ..PackLimits::default()
            },
            PackLimits {
                entries_max: 3,
                ..PackLimits::default()
            },
        ];
        for limits in limits {
            let error = pack_folder(folder.path(), limits).unwrap_err();
            assert!(matches!(error, ArchiveError::TooLarge { .. }), "{error}");
        }
    }

    #[test]
    fn an_executable_is_packed_alone() {
        let folder = project();
        let bytes =
            pack_executable(&folder.path().join("main.py"), "program", PackLimits::default()).unwrap();
        assert_eq!(entries(&bytes), [("program".to_owned(), 0o755)]);
    }
}
