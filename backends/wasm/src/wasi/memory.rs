//! The program's memory, as a call sees it. Every access is checked.

use super::abi::{Called, Errno};

/// More pieces than one call may name (IOV_MAX of Linux).
const PIECES_MAX: u32 = 1024;
/// The longest path that is read; the file system takes no longer one.
const PATH_BYTES_MAX: u32 = 4096;

pub(super) struct Memory<'a>(pub(super) &'a mut [u8]);

/// A piece of memory that a call reads into or writes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) at: u32,
    pub(super) len: u32,
}

impl Memory<'_> {
    pub(super) fn bytes(&self, at: u32, len: u32) -> Called<&[u8]> {
        let range = at as usize..at as usize + len as usize;
        Ok(self.0.get(range).ok_or(Errno::Fault)?)
    }

    pub(super) fn bytes_mut(&mut self, at: u32, len: u32) -> Called<&mut [u8]> {
        let range = at as usize..at as usize + len as usize;
        Ok(self.0.get_mut(range).ok_or(Errno::Fault)?)
    }

    pub(super) fn put(&mut self, at: u32, bytes: &[u8]) -> Called {
        let len = u32::try_from(bytes.len()).map_err(|_| Errno::Overflow)?;
        self.bytes_mut(at, len)?.copy_from_slice(bytes);
        Ok(())
    }

    pub(super) fn put_u32(&mut self, at: u32, value: u32) -> Called {
        self.put(at, &value.to_le_bytes())
    }

    /// Puts a length, which never exceeds 32 bits, since it is one of something in this memory.
    pub(super) fn put_len(&mut self, at: u32, value: usize) -> Called {
        self.put_u32(at, u32::try_from(value).map_err(|_| Errno::Overflow)?)
    }

    pub(super) fn put_u64(&mut self, at: u32, value: u64) -> Called {
        self.put(at, &value.to_le_bytes())
    }

    pub(super) fn u32(&self, at: u32) -> Called<u32> {
        let bytes = self.bytes(at, 4)?.try_into().map_err(|_| Errno::Fault)?;
        Ok(u32::from_le_bytes(bytes))
    }

    pub(super) fn u64(&self, at: u32) -> Called<u64> {
        let bytes = self.bytes(at, 8)?.try_into().map_err(|_| Errno::Fault)?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(super) fn path(&self, at: u32, len: u32) -> Called<&str> {
        if len > PATH_BYTES_MAX {
            return Err(Errno::NameTooLong.into());
        }
        Ok(str::from_utf8(self.bytes(at, len)?).map_err(|_| Errno::IlSeq)?)
    }

    /// Reads a list of pieces, each of which lies in the memory.
    pub(super) fn pieces(&self, at: u32, count: u32) -> Called<Vec<Piece>> {
        if count > PIECES_MAX {
            return Err(Errno::Inval.into());
        }
        let list = self.bytes(at, count * 8)?;
        let word = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let pieces = list.chunks_exact(8).map(|pair| Piece {
            at: word(&pair[..4]),
            len: word(&pair[4..]),
        });
        let pieces: Vec<Piece> = pieces.collect();
        for piece in &pieces {
            self.bytes(piece.at, piece.len)?;
        }
        Ok(pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wasi::abi::Fault;

    #[test]
    fn nothing_beyond_the_memory_is_reached() {
        let mut bytes = [0; 16];
        let mut memory = Memory(&mut bytes);
        let fault = Fault::Errno(Errno::Fault);

        for (at, len) in [(16, 1), (0, 17), (u32::MAX, 1), (u32::MAX, u32::MAX), (8, 9)] {
            assert_eq!(memory.bytes(at, len), Err(fault));
            assert_eq!(memory.bytes_mut(at, len), Err(fault));
        }
        assert_eq!(memory.put_u64(9, 0), Err(fault));
        assert_eq!(memory.u32(13), Err(fault));
        assert!(memory.bytes(16, 0).is_ok());
    }

    #[test]
    fn a_list_of_pieces_is_checked_before_it_is_used() {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&[16, 0, 0, 0, 17, 0, 0, 0]);
        let memory = Memory(&mut bytes);

        assert_eq!(memory.pieces(0, 1).unwrap_err(), Fault::Errno(Errno::Fault));
        assert_eq!(memory.pieces(0, 1_025).unwrap_err(), Fault::Errno(Errno::Inval));
        assert!(memory.pieces(8, 3).is_ok());
    }
}
