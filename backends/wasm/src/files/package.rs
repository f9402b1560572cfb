//! A package: the files that come with a module, unpacked once and shared by every instance that runs it.

use std::{
    fmt,
    io::{self, Read},
    path::{Component, Path},
};

use bytes::Bytes;
use flate2::read::GzDecoder;
use tar::{Archive, Entry, EntryType};

use super::{
    node::NodeId,
    path::{Follow, Found},
    quota::Problem,
    tree::Tree,
};

/// More entries than any sensible package has.
const ENTRIES_MAX: usize = 10_000;
/// Deeper than any sensible package is.
const DEPTH_MAX: usize = 64;
/// What a header and its padding take of the stream, at most, with long names.
const HEADER_BYTES: u64 = 2048;

/// Why an archive could not be unpacked, in words for whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackageError(String);

impl fmt::Display for PackageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug)]
enum Item {
    File(Bytes),
    Folder,
    Link(String),
    /// Another name of a file in the package.
    Name(String),
}

/// Files, in the order of the archive.
#[derive(Debug, Default)]
pub(crate) struct Package {
    items: Vec<(String, Item)>,
    bytes: u64,
}

impl Package {
    /// Reads a tar.gz archive; holds at most `bytes_max` bytes of it at any time.
    pub(crate) fn unpack(packed: &[u8], bytes_max: u64) -> Result<Self, PackageError> {
        let stream_max = bytes_max.saturating_add(ENTRIES_MAX as u64 * HEADER_BYTES);
        let mut archive = Archive::new(GzDecoder::new(packed).take(stream_max));
        let mut package = Self::default();
        for (index, entry) in archive.entries().map_err(|error| broken(&error))?.enumerate() {
            if index >= ENTRIES_MAX {
                return Err(PackageError(format!(
                    "the archive has more than {ENTRIES_MAX} entries"
                )));
            }
            package.add(&mut entry.map_err(|error| broken(&error))?, bytes_max)?;
        }
        Ok(package)
    }

    /// Returns the bytes of a file.
    pub(crate) fn file(&self, name: &str) -> Option<&Bytes> {
        self.items.iter().rev().find_map(|(path, item)| match item {
            Item::File(bytes) if path == name => Some(bytes),
            _ => None,
        })
    }

    /// Returns how many bytes the files have together.
    pub(crate) const fn len_bytes(&self) -> u64 {
        self.bytes
    }

    /// Puts the files into a folder. A failure leaves what was put there until then.
    pub(crate) fn mount(&self, tree: &mut Tree, folder: NodeId) -> Result<(), (String, Problem)> {
        for (path, item) in &self.items {
            put(tree, folder, path, item).map_err(|problem| (path.clone(), problem))?;
        }
        Ok(())
    }

    fn add<R: Read>(&mut self, entry: &mut Entry<'_, R>, bytes_max: u64) -> Result<(), PackageError> {
        let path = entry.path().map_err(|error| broken(&error))?.into_owned();
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let names = inner_path(&path).map_err(|problem| refused(&path, problem))?;
        let item = match kind {
            EntryType::Directory => Item::Folder,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let left = bytes_max - self.bytes;
                Item::File(
                    self.content(entry, left)
                        .map_err(|problem| refused(&path, &problem))?,
                )
            }
            EntryType::Symlink => {
                let target = target_of(entry, &path)?;
                let depth = names.matches('/').count();
                is_inside(depth, &target)
                    .then(|| Item::Link(target.to_string_lossy().into_owned()))
                    .ok_or_else(|| refused(&path, "it is a link that leads out of the archive"))?
            }
            EntryType::Link => {
                let target = target_of(entry, &path)?;
                Item::Name(inner_path(&target).map_err(|problem| refused(&path, problem))?)
            }
            _ => return Err(refused(&path, "it is neither a file, a folder nor a link")),
        };
        if !names.is_empty() {
            self.items.push((names, item));
        }
        Ok(())
    }

    fn content<R: Read>(&mut self, entry: &mut Entry<'_, R>, left: u64) -> Result<Bytes, String> {
        if entry.size() > left {
            return Err(format!(
                "the archive is larger than the {} bytes that it may have",
                self.bytes + left
            ));
        }
        let mut bytes = Vec::new();
        entry
            .take(left)
            .read_to_end(&mut bytes)
            .map_err(|error| error.to_string())?;
        self.bytes += bytes.len() as u64;
        Ok(bytes.into())
    }
}

fn put(tree: &mut Tree, root: NodeId, path: &str, item: &Item) -> Result<(), Problem> {
    let mut folder = root;
    let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
    for parent in parents.split('/').filter(|name| !name.is_empty()) {
        folder = folder_at(tree, folder, parent)?;
    }
    match item {
        Item::Folder => return folder_at(tree, folder, name).map(drop),
        Item::File(_) | Item::Link(_) | Item::Name(_) => {}
    }
    // The last entry of a name counts, as with any archiver.
    let place = tree.find_place(folder, name)?;
    match tree.remove_file(&place) {
        Ok(()) | Err(Problem::NotFound) => {}
        Err(problem) => return Err(problem),
    }
    match item {
        Item::Folder => Ok(()),
        Item::File(bytes) => tree.make_shared_file(folder, name, bytes.clone()).map(drop),
        Item::Link(target) => tree.make_link(folder, name, target).map(drop),
        Item::Name(target) => {
            let node = tree.find_node(root, target, Follow::Not)?;
            tree.link(node, folder, name)
        }
    }
}

/// Goes into a folder, which is made where it is not there; never through a link.
fn folder_at(tree: &mut Tree, folder: NodeId, name: &str) -> Result<NodeId, Problem> {
    match tree.find(folder, name, Follow::Not)? {
        Found::Node(node) => tree.entries(node).map(|_| node),
        Found::Free(place) => tree.make_folder(place.folder, &place.name),
    }
}

/// Returns the names of a path that stays inside, joined by `/`.
fn inner_path(path: &Path) -> Result<String, &'static str> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_str().ok_or("its path is no UTF-8")?),
            Component::CurDir => {}
            Component::ParentDir => return Err("its path has '..' in it"),
            Component::RootDir | Component::Prefix(_) => return Err("its path is absolute"),
        }
    }
    if names.len() > DEPTH_MAX {
        return Err("its path is too deep");
    }
    Ok(names.join("/"))
}

fn target_of<R: Read>(entry: &Entry<'_, R>, path: &Path) -> Result<std::path::PathBuf, PackageError> {
    match entry.link_name() {
        Ok(Some(target)) => Ok(target.into_owned()),
        Ok(None) => Err(refused(path, "it is a link to nothing")),
        Err(error) => Err(broken(&error)),
    }
}

/// Returns whether a link in a folder `depth` below the root stays below it.
fn is_inside(depth: usize, target: &Path) -> bool {
    let (mut up, mut down) = (0, 0);
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

fn broken(error: &io::Error) -> PackageError {
    PackageError(format!("the archive is no tar.gz that can be read: {error}"))
}

fn refused(path: &Path, problem: &str) -> PackageError {
    PackageError(format!(
        "the archive's entry '{}' cannot be unpacked: {problem}",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;
    use crate::files::tree::tests::tree;

    const ROOM: u64 = 1 << 20;

    fn archive(build: impl FnOnce(&mut tar::Builder<GzEncoder<Vec<u8>>>)) -> Vec<u8> {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        build(&mut builder);
        builder.into_inner().unwrap().finish().unwrap()
    }

    fn add(
        builder: &mut tar::Builder<GzEncoder<Vec<u8>>>,
        name: &str,
        kind: EntryType,
        target: &str,
        bytes: &[u8],
    ) {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        builder.append(&header, bytes).unwrap();
    }

    fn unpacked(entries: &[(&str, EntryType, &str, &[u8])]) -> Result<Package, PackageError> {
        let packed = archive(|builder| {
            for (name, kind, target, bytes) in entries {
                add(builder, name, *kind, target, bytes);
            }
        });
        Package::unpack(&packed, ROOM)
    }

    #[test]
    fn files_folders_and_links_are_where_the_archive_has_them() {
        let package = unpacked(&[
            ("main.wasm", EntryType::Regular, "", b"module"),
            ("data/deep/file", EntryType::Regular, "", b"text"),
            ("data/link", EntryType::Symlink, "deep/file", b""),
            ("hard", EntryType::Link, "data/deep/file", b""),
            ("empty/", EntryType::Directory, "", b""),
        ])
        .unwrap();
        let mut tree = tree();

        package.mount(&mut tree, Tree::ROOT).unwrap();

        for path in ["data/deep/file", "data/link", "hard"] {
            let node = tree.find_node(Tree::ROOT, path, Follow::Last).unwrap();
            let mut bytes = [0; 8];
            assert_eq!(tree.read(node, 0, &mut bytes), Ok(4), "{path}");
            assert_eq!(&bytes[..4], b"text");
        }
        assert!(
            tree.entries(tree.find_node(Tree::ROOT, "empty", Follow::Last).unwrap())
                .is_ok()
        );
        assert_eq!(package.file("main.wasm").unwrap(), "module");
    }

    #[test]
    fn entries_that_lead_out_are_refused() {
        for (name, kind, target) in [
            ("../out", EntryType::Regular, ""),
            ("/etc/passwd", EntryType::Regular, ""),
            ("a/../../out", EntryType::Regular, ""),
            ("link", EntryType::Symlink, "/etc/passwd"),
            ("link", EntryType::Symlink, "../etc/passwd"),
            ("hard", EntryType::Link, "../../etc/passwd"),
            ("fifo", EntryType::Fifo, ""),
            ("disk", EntryType::Block, ""),
            ("terminal", EntryType::Char, ""),
        ] {
            let error = unpacked(&[(name, kind, target, b"")]).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn nothing_is_written_through_a_link_of_the_archive() {
        let package = unpacked(&[
            ("out", EntryType::Symlink, "data", b""),
            ("out/file", EntryType::Regular, "", b"text"),
        ])
        .unwrap();

        let error = package.mount(&mut tree(), Tree::ROOT).unwrap_err();

        assert_eq!(error, ("out/file".to_owned(), Problem::NoFolder));
    }

    #[test]
    fn a_bomb_ends_at_the_limit() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        let mut header = tar::Header::new_ustar();
        header.set_path("bomb").unwrap();
        header.set_mode(0o644);
        header.set_size(ROOM * 64);
        header.set_cksum();
        encoder.write_all(header.as_bytes()).unwrap();
        for _ in 0..64 {
            encoder
                .write_all(&vec![0; usize::try_from(ROOM).unwrap()])
                .unwrap();
        }
        let packed = encoder.finish().unwrap();

        let error = Package::unpack(&packed, ROOM).unwrap_err();

        assert!(error.to_string().contains("larger than"), "{error}");
    }

    #[test]
    fn an_archive_with_too_many_entries_is_refused() {
        let packed = archive(|builder| {
            for number in 0..=ENTRIES_MAX {
                add(builder, &format!("f{number}"), EntryType::Regular, "", b"");
            }
        });

        let error = Package::unpack(&packed, ROOM).unwrap_err();

        assert!(error.to_string().contains("more than 10000 entries"), "{error}");
    }

    #[test]
    fn bytes_that_are_no_archive_are_refused() {
        assert!(Package::unpack(b"no archive at all", ROOM).is_err());
        let packed = archive(|builder| add(builder, "file", EntryType::Regular, "", &[7; 5_000]));
        assert!(Package::unpack(&packed[..packed.len() / 2], ROOM).is_err());
    }
}
