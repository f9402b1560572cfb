//! From packed bytes to files: decompression on one thread, hashing and writing on another.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
};

use flate2::bufread::MultiGzDecoder;
use tokio_util::sync::CancellationToken;

use super::{
    UnpackError,
    entries::Entries,
    tree::{Meaning, Tree, UnpackLimits},
};
use crate::image::digest::{Digest, Hashing};

/// How many bytes go from one thread to the other at once, and how many such pieces wait.
const PIECE_BYTES: usize = 512 << 10;
const PIECES_WAITING_MAX: usize = 8;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// What was unpacked.
#[derive(Debug)]
pub(crate) struct Unpacked {
    /// The digest of the plain tar.
    pub(crate) diff_id: Digest,
    /// Bytes of all files.
    pub(crate) bytes: u64,
    /// How many devices and pipes were left out.
    pub(crate) left_out: u64,
}

/// Unpacks a tar, plain or packed with gzip or zstd, below `folder`, which exists and is empty. Blocks.
///
/// On failure some of it may be there; the folder is to be removed.
///
/// # Errors
///
/// When the archive is broken, hostile or too large; when the disk is full; when `stop` is cancelled.
pub(crate) fn unpack(
    archive: File,
    folder: &Path,
    meaning: Meaning,
    limits: UnpackLimits,
    stop: &CancellationToken,
) -> Result<Unpacked, UnpackError> {
    let (pieces, receiver) = sync_channel(PIECES_WAITING_MAX);
    std::thread::scope(|scope| {
        // Dropping the receiver ends the thread; so does `stop`, through the tree.
        scope.spawn(move || decompress(archive, &pieces));
        unpack_plain(Pieces::new(receiver), folder, meaning, limits, stop)
    })
}

fn unpack_plain(
    pieces: Pieces,
    folder: &Path,
    meaning: Meaning,
    limits: UnpackLimits,
    stop: &CancellationToken,
) -> Result<Unpacked, UnpackError> {
    let mut tree = Tree::new(folder, meaning, limits, stop)?;
    let mut rest = tree.take(Hashing::new(pieces))?;
    let (bytes, left_out) = tree.finish()?;
    // What follows the end of the archive is hashed and not looked at; it has the limit of the rest.
    let most = limits.bytes_max.saturating_add(TRAILER_BYTES_MAX);
    let trailing = io::copy(&mut (&mut rest).take(most), &mut io::sink())
        .map_err(|error| UnpackError::broken(error.to_string()))?;
    if trailing == most {
        return Err(UnpackError::Limit {
            what: "bytes",
            limit: limits.bytes_max,
        });
    }
    let (_, diff_id, _) = rest.finish();
    Ok(Unpacked {
        diff_id,
        bytes,
        left_out,
    })
}

/// Blocks of zeros after an archive: tar pads to 10 KiB, some to more.
const TRAILER_BYTES_MAX: u64 = 1 << 20;

type Piece = io::Result<Vec<u8>>;

fn decompress(archive: File, pieces: &SyncSender<Piece>) {
    let result = plain(archive).and_then(|mut reader| {
        loop {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            (&mut reader).take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
            if piece.is_empty() || pieces.send(Ok(piece)).is_err() {
                return Ok(());
            }
        }
    });
    if let Err(error) = result {
        // Nobody to tell is nobody who waits.
        let _ = pieces.send(Err(error));
    }
}

/// Returns what a layer in a file is called, by its beginning.
pub(crate) fn media_type_of(path: &Path) -> io::Result<&'static str> {
    let mut beginning = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut beginning)?;
    Ok(if beginning.starts_with(&GZIP_MAGIC) {
        "application/vnd.oci.image.layer.v1.tar+gzip"
    } else if beginning.starts_with(&ZSTD_MAGIC) {
        "application/vnd.oci.image.layer.v1.tar+zstd"
    } else {
        "application/vnd.oci.image.layer.v1.tar"
    })
}

/// The entries of an archive, for who wants them one by one.
pub(crate) struct Packed(Entries<Box<dyn Read>>);

/// What such an entry is.
pub(crate) struct PackedEntry {
    pub(crate) name: String,
    /// The target, of a link of either kind.
    pub(crate) link: Option<String>,
    pub(crate) is_file: bool,
    pub(crate) bytes: u64,
}

/// Begins to read an archive, plain or packed.
pub(crate) fn read_packed(archive: File) -> Result<Packed, UnpackError> {
    let reader = plain(archive).map_err(|error| UnpackError::broken(error.to_string()))?;
    Ok(Packed(Entries::new(reader)))
}

impl Packed {
    pub(crate) fn next(&mut self) -> Result<Option<PackedEntry>, UnpackError> {
        let Some(entry) = self.0.next()? else {
            return Ok(None);
        };
        let text = |text: Vec<u8>| String::from_utf8_lossy(&text).into_owned();
        let (is_link, is_hard) = (entry.kind.is_symlink(), entry.kind.is_hard_link());
        let mut link = (is_link || is_hard).then(|| text(entry.link));
        if is_hard {
            // A hard link's target is a name in the archive, a symbolic one's begins at its folder.
            link = link
                .map(|link| "../".repeat(entry.path.iter().filter(|byte| **byte == b'/').count()) + &link);
        }
        Ok(Some(PackedEntry {
            name: text(entry.path),
            link,
            is_file: entry.kind.is_file(),
            bytes: entry.bytes,
        }))
    }

    /// Reads content of the entry that was last returned.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

/// Returns the plain bytes of what is in a file. Looks at the beginning: what people call a layer does not always match its media type.
pub(crate) fn plain(archive: File) -> io::Result<Box<dyn Read>> {
    let mut archive = BufReader::with_capacity(256 << 10, archive);
    let beginning = io::BufRead::fill_buf(&mut archive)?;
    Ok(if beginning.starts_with(&GZIP_MAGIC) {
        Box::new(MultiGzDecoder::new(archive))
    } else if beginning.starts_with(&ZSTD_MAGIC) {
        Box::new(zstd::Decoder::with_buffer(archive)?)
    } else {
        Box::new(archive)
    })
}

/// What the other thread sends, as a reader.
struct Pieces {
    receiver: Receiver<Piece>,
    piece: Vec<u8>,
    position: usize,
}

impl Pieces {
    const fn new(receiver: Receiver<Piece>) -> Self {
        Self {
            receiver,
            piece: Vec::new(),
            position: 0,
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.piece.len() {
            match self.receiver.recv() {
                Ok(piece) => {
                    self.piece = piece?;
                    self.position = 0;
                }
                Err(_) => return Ok(0),
            }
        }
        let rest = &self.piece[self.position..];
        let bytes = rest.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&rest[..bytes]);
        self.position += bytes;
        Ok(bytes)
    }
}
