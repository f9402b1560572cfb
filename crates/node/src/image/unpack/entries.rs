//! Reading a tar archive entry by entry: ustar, GNU long names and sparse files, PAX (`man 5 tar`, POSIX.1-2001 `pax`).
//!
//! Own, because a reader of hostile archives must limit what it keeps of headers: a PAX header of 8 GB is an attack.

use std::io::{self, Read};

use tar::{EntryType, GnuExtSparseHeader, Header};

use super::UnpackError;

const BLOCK_BYTES: usize = 512;
/// The most bytes of a long name or of PAX records before one entry. Extended attributes are in them.
const EXTENSION_BYTES_MAX: u64 = 1 << 20;
/// The most of them before one entry.
const EXTENSIONS_LEN_MAX: u64 = 8;
/// The most pieces of a sparse file.
const SPARSE_PIECES_MAX: usize = 100_000;

/// A name and a value, either of any bytes.
type Record = (Vec<u8>, Vec<u8>);

/// Where a piece of a sparse file goes, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// The pieces of a sparse file, and its length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sparse {
    pub(super) pieces: Vec<Piece>,
    pub(super) bytes: u64,
}

/// What an archive says of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: EntryType,
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    /// Seconds since 1970.
    pub(super) mtime: u64,
    /// Bytes of content in the archive.
    pub(super) bytes: u64,
    pub(super) sparse: Option<Sparse>,
    pub(super) xattrs: Vec<Record>,
}

/// The entries of an archive, in order.
pub(super) struct Entries<R> {
    reader: R,
    /// What is left of the present entry's content.
    left: u64,
    padding: u64,
}

/// What precedes an entry and changes it.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Vec<Record>,
}

impl<R: Read> Entries<R> {
    pub(super) const fn new(reader: R) -> Self {
        Self {
            reader,
            left: 0,
            padding: 0,
        }
    }

    /// Returns the reader, at wherever it is.
    pub(super) fn into_inner(self) -> R {
        self.reader
    }

    /// Returns the next entry; what was not read of the one before is skipped.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, UnpackError> {
        let mut extensions = Extensions::default();
        for _ in 0..=EXTENSIONS_LEN_MAX {
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            match header.entry_type() {
                EntryType::GNULongName => extensions.path = Some(until_nul(self.extension(&header)?)),
                EntryType::GNULongLink => extensions.link = Some(until_nul(self.extension(&header)?)),
                EntryType::XHeader => extensions.pax = pax_records(&self.extension(&header)?)?,
                EntryType::XGlobalHeader => drop(self.extension(&header)?),
                _ => return self.entry(&header, extensions).map(Some),
            }
        }
        Err(UnpackError::Limit {
            what: "headers before one entry",
            limit: EXTENSIONS_LEN_MAX,
        })
    }

    fn entry(&mut self, header: &Header, extensions: Extensions) -> Result<Entry, UnpackError> {
        let mut entry = Entry {
            kind: header.entry_type(),
            path: extensions
                .path
                .unwrap_or_else(|| header.path_bytes().into_owned()),
            link: extensions
                .link
                .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
                .unwrap_or_default(),
            mode: header.mode().unwrap_or(0o644),
            // Some leave the owner out; it is root's then.
            uid: header.uid().unwrap_or(0),
            gid: header.gid().unwrap_or(0),
            mtime: header.mtime().unwrap_or(0),
            bytes: header
                .entry_size()
                .map_err(|_| UnpackError::broken("a header has no size"))?,
            sparse: None,
            xattrs: Vec::new(),
        };
        apply_pax(&mut entry, extensions.pax)?;
        if entry.kind == EntryType::GNUSparse {
            entry.sparse = Some(self.sparse(header, entry.bytes)?);
        }
        if matches!(
            entry.kind,
            EntryType::Link | EntryType::Symlink | EntryType::Directory | EntryType::Fifo
        ) && entry.bytes > 0
            && entry.kind != EntryType::Link
        {
            return Err(UnpackError::entry(&entry.path, "has content, and is no file"));
        }
        if entry.kind == EntryType::Link {
            // POSIX lets a hard link carry the content of its target; nobody writes that, and tools disagree on it.
            entry.bytes = 0;
        }
        self.begin(entry.bytes);
        Ok(entry)
    }

    /// Reads content of the present entry.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let read = self.reader.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        Ok(read)
    }

    const fn begin(&mut self, bytes: u64) {
        self.left = bytes;
        self.padding = (BLOCK_BYTES as u64 - bytes % BLOCK_BYTES as u64) % BLOCK_BYTES as u64;
    }

    fn skip(&mut self) -> Result<(), UnpackError> {
        let bytes = self.left + self.padding;
        let skipped =
            io::copy(&mut (&mut self.reader).take(bytes), &mut io::sink()).map_err(|error| cut(&error))?;
        if skipped < bytes {
            return Err(UnpackError::broken("it ends inside of an entry"));
        }
        self.begin(0);
        Ok(())
    }

    /// Reads the next header; `None` at the end, which is a block of zeros, or nothing at all where an entry might begin.
    fn header(&mut self) -> Result<Option<Header>, UnpackError> {
        self.skip()?;
        let mut header = Header::new_old();
        if !self.block(header.as_mut_bytes())? || header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let bytes = header.as_bytes();
        let sum: u32 = bytes[..148]
            .iter()
            .chain(&bytes[156..])
            .map(|byte| u32::from(*byte))
            .sum::<u32>()
            + 8 * u32::from(b' ');
        if header.cksum().ok() != Some(sum) {
            return Err(UnpackError::broken(
                "a header's checksum does not match: it is no tar archive",
            ));
        }
        Ok(Some(header))
    }

    /// Reads a block; `false` where the archive ends before it.
    fn block(&mut self, block: &mut [u8; BLOCK_BYTES]) -> Result<bool, UnpackError> {
        let mut filled = 0;
        while filled < BLOCK_BYTES {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(UnpackError::broken("it ends inside of a header")),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(cut(&error)),
            }
        }
        Ok(true)
    }

    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, UnpackError> {
        let bytes = header
            .entry_size()
            .map_err(|_| UnpackError::broken("a header has no size"))?;
        if bytes > EXTENSION_BYTES_MAX {
            return Err(UnpackError::Limit {
                what: "bytes in a header of one entry",
                limit: EXTENSION_BYTES_MAX,
            });
        }
        self.begin(bytes);
        let mut content = Vec::new();
        (&mut self.reader)
            .take(bytes)
            .read_to_end(&mut content)
            .map_err(|error| cut(&error))?;
        if (content.len() as u64) < bytes {
            return Err(UnpackError::broken("it ends inside of a header"));
        }
        self.left = 0;
        Ok(content)
    }

    /// Reads the map of a GNU sparse file, whose first four pieces are in the header.
    fn sparse(&mut self, header: &Header, stored: u64) -> Result<Sparse, UnpackError> {
        let wrong = |_| UnpackError::broken("a sparse file's map cannot be read");
        let gnu = header
            .as_gnu()
            .ok_or_else(|| UnpackError::broken("a sparse file has no map"))?;
        let bytes = gnu.real_size().map_err(wrong)?;
        let mut pieces = Vec::new();
        let mut take = |list: &[tar::GnuSparseHeader]| -> Result<(), UnpackError> {
            for piece in list.iter().filter(|piece| !piece.is_empty()) {
                pieces.push(Piece {
                    offset: piece.offset().map_err(wrong)?,
                    bytes: piece.length().map_err(wrong)?,
                });
            }
            if pieces.len() > SPARSE_PIECES_MAX {
                return Err(UnpackError::Limit {
                    what: "pieces of a sparse file",
                    limit: SPARSE_PIECES_MAX as u64,
                });
            }
            Ok(())
        };
        take(&gnu.sparse)?;
        let mut is_extended = gnu.is_extended();
        while is_extended {
            let mut more = GnuExtSparseHeader::new();
            if !self.block(more.as_mut_bytes())? {
                return Err(UnpackError::broken("it ends inside of a sparse file's map"));
            }
            take(more.sparse())?;
            is_extended = more.is_extended();
        }
        check_pieces(&pieces, stored, bytes)?;
        Ok(Sparse { pieces, bytes })
    }
}

/// Pieces must be in order, inside of the file, and as long together as what is stored.
fn check_pieces(pieces: &[Piece], stored: u64, bytes: u64) -> Result<(), UnpackError> {
    let mut end = 0_u64;
    let mut sum = 0_u64;
    for piece in pieces {
        let next = piece.offset.checked_add(piece.bytes);
        match next {
            Some(next) if piece.offset >= end && next <= bytes => end = next,
            _ => return Err(UnpackError::broken("a sparse file's map contradicts itself")),
        }
        sum = sum.saturating_add(piece.bytes);
    }
    if sum == stored {
        Ok(())
    } else {
        Err(UnpackError::broken(
            "a sparse file's map is not that of its content",
        ))
    }
}

fn cut(error: &io::Error) -> UnpackError {
    UnpackError::broken(error.to_string())
}

fn until_nul(mut text: Vec<u8>) -> Vec<u8> {
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    text.truncate(end);
    text
}

/// Reads records of the form `<length> <key>=<value>\n`; values may contain anything, new lines too.
fn pax_records(mut text: &[u8]) -> Result<Vec<Record>, UnpackError> {
    let wrong = || UnpackError::broken("its PAX records cannot be read");
    let mut records = Vec::new();
    while !text.is_empty() {
        let space = text.iter().position(|byte| *byte == b' ').ok_or_else(wrong)?;
        let length: usize = std::str::from_utf8(&text[..space])
            .ok()
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(wrong)?;
        if length <= space + 1 || length > text.len() {
            return Err(wrong());
        }
        let (record, rest) = text.split_at(length);
        let record = record[space + 1..].strip_suffix(b"\n").ok_or_else(wrong)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        text = rest;
    }
    Ok(records)
}

fn apply_pax(entry: &mut Entry, records: Vec<Record>) -> Result<(), UnpackError> {
    let number = |value: &[u8]| {
        std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
            .ok_or_else(|| UnpackError::broken("a PAX record has no number"))
    };
    for (key, value) in records {
        match key.as_slice() {
            b"path" => entry.path = value,
            b"linkpath" => entry.link = value,
            b"size" => entry.bytes = number(&value)?,
            b"uid" => entry.uid = number(&value)?,
            b"gid" => entry.gid = number(&value)?,
            b"mtime" => {
                // A fraction is cut off; times before 1970 become it.
                let whole = value.split(|byte| *byte == b'.').next().unwrap_or_default();
                entry.mtime = number(whole).unwrap_or(0);
            }
            key if key.starts_with(b"GNU.sparse.") => {
                return Err(UnpackError::entry(
                    &entry.path,
                    "is a sparse file in the PAX form, which is not known here; pack it with 'tar --format=gnu', or without --sparse",
                ));
            }
            key => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    entry.xattrs.push((name.to_vec(), value));
                }
            }
        }
    }
    Ok(())
}
