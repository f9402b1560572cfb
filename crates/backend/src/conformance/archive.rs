//! Hostile archives, made by hand: what a careful archiver would refuse to write.

/// What one entry of an archive is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Entry<'a> {
    /// A file with this content.
    File(&'a [u8]),
    /// A symbolic link to this target.
    Link(&'a str),
    /// A hard link to this target.
    HardLink(&'a str),
    /// A FIFO.
    Fifo,
    /// The device of the first disk.
    BlockDevice,
}

const BLOCK: usize = 512;

/// Makes a tar.gz archive of entries under exactly these names.
pub(super) fn tar_gz(entries: &[(&str, Entry<'_>)]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, entry) in entries {
        put(&mut tar, name, *entry);
    }
    tar.resize(tar.len() + 2 * BLOCK, 0);
    gzip(&tar)
}

/// One header and its content, as POSIX.1-1988 ustar has it.
fn put(tar: &mut Vec<u8>, name: &str, entry: Entry<'_>) {
    let (kind, link, content): (u8, &str, &[u8]) = match entry {
        Entry::File(content) => (b'0', "", content),
        Entry::HardLink(target) => (b'1', target, b""),
        Entry::Link(target) => (b'2', target, b""),
        Entry::BlockDevice => (b'4', "", b""),
        Entry::Fifo => (b'6', "", b""),
    };
    let mut header = [0_u8; BLOCK];
    let mut set = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    set(0, name.as_bytes());
    set(100, b"0000755\0");
    set(108, b"0000000\0");
    set(116, b"0000000\0");
    set(124, format!("{:011o}\0", content.len()).as_bytes());
    set(136, b"00000000000\0");
    set(148, b"        ");
    set(156, &[kind]);
    set(157, link.as_bytes());
    set(257, b"ustar\x0000");
    set(329, b"0000000\0");
    set(337, b"0000000\0");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar.extend_from_slice(&header);
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(BLOCK), 0);
}

/// Wraps bytes as RFC 1952 has it, in stored blocks of RFC 1951.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut chunks = bytes.chunks(usize::from(u16::MAX)).peekable();
    while let Some(chunk) = chunks.next() {
        let length = u16::try_from(chunk.len()).expect("a chunk is as long as its length can say");
        out.push(u8::from(chunks.peek().is_none()));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(chunk);
    }
    out.extend_from_slice(&crc32(bytes).to_le_bytes());
    let size = u32::try_from(bytes.len()).expect("these archives are small");
    out.extend_from_slice(&size.to_le_bytes());
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_rfc_1952() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
