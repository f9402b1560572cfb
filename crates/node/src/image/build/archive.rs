//! Whether a file is a tar archive, as `ADD` asks: by its content, and not by its name.

use std::{
    fs::File,
    io::{self, Read, Seek},
};

/// Where a tar header says what it is (POSIX.1-1988, `magic`), and how long one is.
const MAGIC_AT: usize = 257;
const MAGIC: &[u8] = b"ustar";
const BLOCK_BYTES: usize = 512;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A tar archive that can be unpacked, packed with gzip, zstd or nothing.
    Tar,
    /// Packed with something else, that a tar archive is likely in.
    Other(&'static str),
    /// Anything else.
    File,
}

/// Looks at the beginning of a file, and goes back to it.
pub(super) fn kind(file: &mut File) -> io::Result<Kind> {
    let begin = block(file)?;
    file.rewind()?;
    let inside = match begin.as_slice() {
        [0x1f, 0x8b, ..] => block(&mut flate2::read::MultiGzDecoder::new(&mut *file)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            zstd::Decoder::new(&mut *file).and_then(|mut reader| block(&mut reader))
        }
        [0xfd, b'7', b'z', b'X', b'Z', ..] => return Ok(Kind::Other("xz")),
        [b'B', b'Z', b'h', ..] => return Ok(Kind::Other("bzip2")),
        _ => Ok(begin),
    };
    file.rewind()?;
    // What cannot be unpacked is just a file.
    let is_tar = inside.is_ok_and(|block| block.get(MAGIC_AT..).is_some_and(|rest| rest.starts_with(MAGIC)));
    Ok(if is_tar { Kind::Tar } else { Kind::File })
}

fn block(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    reader.take(BLOCK_BYTES as u64).read_to_end(&mut block)?;
    Ok(block)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn of(content: &[u8]) -> Kind {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.rewind().unwrap();
        let found = kind(&mut file).unwrap();
        assert_eq!(file.stream_position().unwrap(), 0);
        found
    }

    #[test]
    fn archives_are_known_by_their_content() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(0);
        tar.append_data(&mut header, "file", io::empty()).unwrap();
        let tar = tar.into_inner().unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar).unwrap();
        let mut text = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        text.write_all(b"text").unwrap();

        assert_eq!(of(&tar), Kind::Tar);
        assert_eq!(of(&gzip.finish().unwrap()), Kind::Tar);
        assert_eq!(of(&zstd::encode_all(&tar[..], 1).unwrap()), Kind::Tar);
        assert_eq!(of(&text.finish().unwrap()), Kind::File);
        assert_eq!(of(b"\x1f\x8bbroken"), Kind::File);
        assert_eq!(of(b"\xfd7zXZ\0"), Kind::Other("xz"));
        assert_eq!(of(b""), Kind::File);
    }
}
