//! The check of a code archive before anything of it is unpacked.
//!
//! The bytes are streamed through gzip and tar; nothing is written, and no more is kept than the names. What passes leaves
//! the working directory nowhere: the guest unpacks it inside of its sandbox all the same.

use std::{
    collections::HashMap,
    io::{self, Read},
};

use flate2::bufread::GzDecoder;
use tar::{Archive, Entry, EntryType, PaxExtensions};

use super::fields::{PATH_BYTES_MAX, relative_path};

/// The most bytes of one extension header (long name, pax records).
const EXTENSION_BYTES_MAX: u64 = 64 * 1024;
/// What one entry adds to the size of the stream beside its content: its header, padding, and an extension header or two.
const ENTRY_OVERHEAD_BYTES: u64 = 4 * 1024;
/// How many links one path may lead over: Linux' limit.
const LINKS_FOLLOWED_MAX: usize = 40;

/// The longest part of an error that is repeated, in characters.
const REASON_CHARS_MAX: usize = 200;

/// What an archive may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The most bytes of all files together.
    pub(crate) unpacked_bytes_max: u64,
    /// The most entries.
    pub(crate) entries_max: usize,
}

/// Why an archive cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The entry, where it is one's fault.
    pub(crate) entry: Option<String>,
    /// The rule that is broken, in words.
    pub(crate) rule: String,
}

impl Fault {
    fn whole(rule: impl Into<String>) -> Self {
        Self {
            entry: None,
            rule: rule.into(),
        }
    }

    fn at(entry: &str, rule: impl Into<String>) -> Self {
        Self {
            entry: Some(entry.to_owned()),
            rule: rule.into(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Dir,
    File,
    Link(String),
}

/// Checks an archive. Blocks for as long as unpacking takes: call it where that is allowed.
///
/// # Errors
///
/// The first [`Fault`].
pub(crate) fn check(bytes: &[u8], entrypoint: &str, limits: Limits) -> Result<(), Fault> {
    let overhead = u64::try_from(limits.entries_max)
        .unwrap_or(u64::MAX)
        .saturating_mul(ENTRY_OVERHEAD_BYTES);
    let stream_bytes_max = limits.unpacked_bytes_max.saturating_add(overhead);
    let mut archive = Archive::new(Capped {
        inner: GzDecoder::new(bytes),
        left: stream_bytes_max,
    });
    let mut tree = Tree::default();
    walk(&mut archive, &mut tree, limits)?;
    finish(archive.into_inner())?;
    tree.check_links()?;
    match tree.nodes.get(entrypoint) {
        Some(Node::File) => Ok(()),
        Some(Node::Dir) => Err(Fault::at(
            entrypoint,
            "the entrypoint must be a regular file; this is a directory",
        )),
        Some(Node::Link(_)) => Err(Fault::at(
            entrypoint,
            "the entrypoint must be a regular file; this is a symbolic link",
        )),
        None => Err(Fault::at(entrypoint, "the entrypoint must be in the archive")),
    }
}

fn walk<R: Read>(archive: &mut Archive<R>, tree: &mut Tree, limits: Limits) -> Result<(), Fault> {
    let mut extension = Extension::default();
    let (mut count, mut total) = (0_usize, 0_u64);
    // Raw: the crate would read a long name whole, however long it is.
    for entry in archive.entries().map_err(|error| broken(&error))?.raw(true) {
        let mut entry = entry.map_err(|error| broken(&error))?;
        let kind = entry.header().entry_type();
        if extension.take(kind, &mut entry)? {
            continue;
        }
        count += 1;
        if count > limits.entries_max {
            return Err(Fault::whole(format!("at most {} entries", limits.entries_max)));
        }
        let head = Head::read(&entry, std::mem::take(&mut extension))?;
        total = total.saturating_add(head.size);
        if total > limits.unpacked_bytes_max {
            return Err(too_large(&head.name, limits));
        }
        tree.add(kind, head)?;
        io::copy(&mut entry, &mut io::sink()).map_err(|error| broken(&error))?;
    }
    Ok(())
}

/// Reads what follows the end of the archive: padding. A second gzip member would be read by some tools and not by others.
fn finish<R: io::BufRead>(mut capped: Capped<GzDecoder<R>>) -> Result<(), Fault> {
    let mut block = [0_u8; 4096];
    loop {
        let read = capped.read(&mut block).map_err(|error| broken(&error))?;
        if read == 0 {
            break;
        }
        if block.iter().take(read).any(|byte| *byte != 0) {
            return Err(Fault::whole("nothing but zeros after the end of the tar archive"));
        }
    }
    let rest = capped.inner.into_inner().fill_buf().map_or(0, <[u8]>::len);
    if rest > 0 {
        return Err(Fault::whole(format!(
            "nothing after the gzip stream; {rest} bytes follow"
        )));
    }
    Ok(())
}

fn too_large(entry: &str, limits: Limits) -> Fault {
    let mib = limits.unpacked_bytes_max / (1024 * 1024);
    Fault::at(
        entry,
        format!("the files must fit into resources.disk_mb, {mib} MiB"),
    )
}

fn broken(error: &io::Error) -> Fault {
    let is_cap = match error.get_ref() {
        Some(inner) => inner.is::<CapReached>(),
        None => false,
    };
    if is_cap {
        return Fault::whole(
            "the archive unpacks to more than resources.disk_mb and its number of entries allow",
        );
    }
    // The tar crate puts names from the archive into its errors.
    let reason: String = error.to_string().chars().take(REASON_CHARS_MAX).collect();
    Fault::whole(format!("a complete tar archive in one gzip stream: {reason}"))
}

/// What is to be unpacked from one header.
struct Head {
    name: String,
    link: Option<String>,
    size: u64,
}

impl Head {
    fn read<R: Read>(entry: &Entry<'_, R>, extension: Extension) -> Result<Self, Fault> {
        let header = entry.header();
        let name = text(extension.path.unwrap_or_else(|| header.path_bytes().into_owned()))?;
        let size = header.entry_size().map_err(|error| broken(&error))?;
        if extension.size.is_some_and(|pax| pax != size) {
            return Err(Fault::at(&name, "the pax size must be that of the header"));
        }
        let link = match extension
            .link
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
        {
            Some(link) => Some(text(link)?),
            None => None,
        };
        Ok(Self { name, link, size })
    }
}

fn text(bytes: Vec<u8>) -> Result<String, Fault> {
    String::from_utf8(bytes).map_err(|error| {
        let shown = String::from_utf8_lossy(error.as_bytes())
            .chars()
            .take(200)
            .collect::<String>();
        Fault::at(&shown, "names must be UTF-8")
    })
}

/// Headers that say more about the entry that follows them.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Extension {
    /// Takes such a header in; returns whether it was one.
    fn take<R: Read>(&mut self, kind: EntryType, entry: &mut Entry<'_, R>) -> Result<bool, Fault> {
        let is_extension = kind.is_gnu_longname()
            || kind.is_gnu_longlink()
            || kind.is_pax_local_extensions()
            || kind.is_pax_global_extensions();
        if !is_extension {
            return Ok(false);
        }
        let size = entry.header().entry_size().map_err(|error| broken(&error))?;
        if size > EXTENSION_BYTES_MAX {
            return Err(Fault::whole(format!(
                "extension headers of at most {EXTENSION_BYTES_MAX} bytes"
            )));
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(|error| broken(&error))?;
        if kind.is_gnu_longname() {
            self.path = Some(without_nul(content));
        } else if kind.is_gnu_longlink() {
            self.link = Some(without_nul(content));
        } else {
            self.take_pax(&content, kind)?;
        }
        Ok(true)
    }

    fn take_pax(&mut self, content: &[u8], kind: EntryType) -> Result<(), Fault> {
        for record in PaxExtensions::new(content) {
            let record = record.map_err(|error| broken(&error))?;
            match record.key_bytes() {
                b"path" | b"linkpath" | b"size" if kind.is_pax_global_extensions() => {
                    return Err(Fault::whole("no global pax header that names files"));
                }
                b"path" => self.path = Some(record.value_bytes().to_vec()),
                b"linkpath" => self.link = Some(record.value_bytes().to_vec()),
                b"size" => {
                    let size = record.value().ok().and_then(|value| value.parse().ok());
                    self.size = Some(size.ok_or_else(|| Fault::whole("a pax size that is a number"))?);
                }
                key if key.starts_with(b"GNU.sparse") => return Err(Fault::whole("no sparse files")),
                _ => {}
            }
        }
        Ok(())
    }
}

/// GNU tar ends long names with a NUL.
fn without_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes
}

/// What would be on disk after unpacking.
#[derive(Default)]
struct Tree {
    nodes: HashMap<String, Node>,
}

impl Tree {
    fn add(&mut self, kind: EntryType, head: Head) -> Result<(), Fault> {
        let Head { name, link, .. } = head;
        if kind.is_dir() && is_root(&name) {
            return Ok(());
        }
        let path = relative_path(&name).map_err(|rule| Fault::at(&name, rule))?;
        self.check_parents(&name, &path)?;
        let node = match kind {
            EntryType::Regular | EntryType::Continuous => Node::File,
            EntryType::Directory => Node::Dir,
            EntryType::Symlink => Node::Link(symbolic_target(&name, link)?),
            EntryType::Link => self.hard_link(&name, link)?,
            _ => {
                return Err(Fault::at(
                    &name,
                    "only files, directories and links; no device, FIFO, socket or sparse file",
                ));
            }
        };
        match (self.nodes.get(&path), &node) {
            (None, _) | (Some(Node::Dir), Node::Dir) | (Some(Node::File), Node::File) => {}
            (Some(Node::Link(_)), _) => {
                return Err(Fault::at(&name, "nothing is written through or over a link"));
            }
            (Some(_), _) => return Err(Fault::at(&name, "no entry replaces one of another kind")),
        }
        self.nodes.insert(path, node);
        Ok(())
    }

    /// Every directory on the way must be one, or not exist yet.
    fn check_parents(&mut self, name: &str, path: &str) -> Result<(), Fault> {
        for (at, _) in path.match_indices('/') {
            let parent = path.get(..at).unwrap_or_default();
            match self.nodes.get(parent) {
                Some(Node::Dir) => {}
                None => {
                    self.nodes.insert(parent.to_owned(), Node::Dir);
                }
                Some(Node::Link(_)) => {
                    return Err(Fault::at(name, "nothing is written through or over a link"));
                }
                Some(Node::File) => return Err(Fault::at(name, "no entry lies below a file")),
            }
        }
        Ok(())
    }

    fn hard_link(&self, name: &str, link: Option<String>) -> Result<Node, Fault> {
        let link = link.ok_or_else(|| Fault::at(name, "a link that has a target"))?;
        let target = relative_path(&link)
            .map_err(|rule| Fault::at(name, format!("the target of a link must be {rule}")))?;
        match self.nodes.get(&target) {
            Some(Node::File) if !self.has_link_on_the_way(&target) => Ok(Node::File),
            _ => Err(Fault::at(
                name,
                "a hard link leads to a regular file that comes before it",
            )),
        }
    }

    fn has_link_on_the_way(&self, path: &str) -> bool {
        path.match_indices('/').any(|(at, _)| {
            matches!(
                self.nodes.get(path.get(..at).unwrap_or_default()),
                Some(Node::Link(_))
            )
        })
    }

    /// Follows every symbolic link as the kernel would, over other links too: none may lead out.
    fn check_links(&self) -> Result<(), Fault> {
        for (path, node) in &self.nodes {
            if let Node::Link(target) = node {
                self.follow(path, target)?;
            }
        }
        Ok(())
    }

    fn follow(&self, path: &str, target: &str) -> Result<(), Fault> {
        let mut at: Vec<String> = path.split('/').map(str::to_owned).collect();
        at.pop();
        let mut rest: Vec<String> = target.split('/').rev().map(str::to_owned).collect();
        let mut followed = 0;
        while let Some(part) = rest.pop() {
            match part.as_str() {
                "" | "." => {}
                ".." => {
                    if at.pop().is_none() {
                        return Err(Fault::at(path, "links must stay inside of the archive"));
                    }
                }
                _ => {
                    at.push(part);
                    if let Some(Node::Link(next)) = self.nodes.get(&at.join("/")) {
                        followed += 1;
                        if followed > LINKS_FOLLOWED_MAX {
                            return Err(Fault::at(
                                path,
                                format!("links over at most {LINKS_FOLLOWED_MAX} other links"),
                            ));
                        }
                        at.pop();
                        rest.extend(next.split('/').rev().map(str::to_owned));
                    }
                }
            }
        }
        Ok(())
    }
}

fn is_root(name: &str) -> bool {
    !name.starts_with('/') && name.split('/').all(|part| part.is_empty() || part == ".")
}

fn symbolic_target(name: &str, link: Option<String>) -> Result<String, Fault> {
    let link = link
        .filter(|link| !link.is_empty())
        .ok_or_else(|| Fault::at(name, "a link that has a target"))?;
    if link.starts_with('/') {
        return Err(Fault::at(name, "links must be relative"));
    }
    if link.len() > PATH_BYTES_MAX || link.contains('\0') {
        return Err(Fault::at(
            name,
            format!("the target of a link has at most {PATH_BYTES_MAX} bytes and no NUL"),
        ));
    }
    Ok(link)
}

/// Fails when more is read than the cap: a bomb is stopped where it exceeds it, not where it ends.
struct Capped<R> {
    inner: R,
    left: u64,
}

/// Marks the error of a [`Capped`] reader.
#[derive(Debug, thiserror::Error)]
#[error("the cap is reached")]
struct CapReached;

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => {
                self.left = left;
                Ok(read)
            }
            None => Err(io::Error::other(CapReached)),
        }
    }
}
