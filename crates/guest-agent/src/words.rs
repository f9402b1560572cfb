//! What a resident interpreter says through its socket.
//!
//! ```text
//! │ letter │ number │ payload … │        the number: 4 bytes, little-endian
//!
//! 'P' 0          it waits for code
//! 'B' length     so many bytes of its report follow
//! 'D' status     the call is over, with this wait status; the handler stays
//! ```
//!
//! The program can write there as well: it can only lie about itself. Whatever is none of these is out of step, and ends it.

use vulcan_guest_protocol::ExitStatus;

const HEADER_BYTES: usize = 5;

/// One word, or a piece of a report.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Word<'a> {
    Ready,
    Report(&'a [u8]),
    Over(ExitStatus),
    OutOfStep,
}

/// Cuts bytes into words. Holds nothing but an incomplete header.
#[derive(Debug, Default)]
pub(crate) struct Words {
    header: Vec<u8>,
    /// What is still to come of a report.
    missing: usize,
}

impl Words {
    /// Takes the next word off the bytes; `None` when they are used up.
    pub(crate) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Word<'a>> {
        while self.missing == 0 {
            if let Some(word) = self.header(bytes)? {
                return Some(word);
            }
        }
        let length = self.missing.min(bytes.len());
        let (piece, rest) = bytes.split_at(length);
        self.missing -= length;
        *bytes = rest;
        (!piece.is_empty()).then_some(Word::Report(piece))
    }

    /// Takes a header; the inner `None` means that a report follows.
    fn header(&mut self, bytes: &mut &[u8]) -> Option<Option<Word<'static>>> {
        let length = (HEADER_BYTES - self.header.len()).min(bytes.len());
        let (piece, rest) = bytes.split_at(length);
        self.header.extend_from_slice(piece);
        *bytes = rest;
        let &[letter, n0, n1, n2, n3] = self.header.as_slice() else {
            return None;
        };
        self.header.clear();
        let number = u32::from_le_bytes([n0, n1, n2, n3]);
        Some(match letter {
            b'P' => Some(Word::Ready),
            b'B' => {
                self.missing = number as usize;
                None
            }
            b'D' => Some(Word::Over(exit_status(number))),
            _ => Some(Word::OutOfStep),
        })
    }
}

/// Reads a wait status as `waitpid` gives it, whatever the bits.
const fn exit_status(raw: u32) -> ExitStatus {
    let [low, high, ..] = raw.to_le_bytes();
    match low & 0x7f {
        0 => ExitStatus::Code(high as i32),
        signal @ 1..=64 => ExitStatus::Signal(signal as i32),
        _ => ExitStatus::Code(255),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all<'a>(words: &mut Words, mut bytes: &'a [u8]) -> Vec<Word<'a>> {
        std::iter::from_fn(|| words.next(&mut bytes)).collect()
    }

    #[test]
    fn a_call_is_read_however_it_was_cut() {
        let bytes = b"B\x03\0\0\0R[]D\0\x01\0\0";
        for cut in 0..bytes.len() {
            let mut words = Words::default();
            let (first, second) = bytes.split_at(cut);
            let mut found = all(&mut words, first);
            found.extend(all(&mut words, second));
            let report: Vec<u8> = found
                .iter()
                .flat_map(|word| match word {
                    Word::Report(piece) => piece.to_vec(),
                    _ => Vec::new(),
                })
                .collect();
            assert_eq!(report, b"R[]", "{cut}");
            assert_eq!(found.last(), Some(&Word::Over(ExitStatus::Code(1))), "{cut}");
        }
    }

    #[test]
    fn an_empty_report_is_none() {
        assert_eq!(all(&mut Words::default(), b"B\0\0\0\0P\0\0\0\0"), [Word::Ready]);
    }

    #[test]
    fn garbage_is_out_of_step() {
        assert_eq!(all(&mut Words::default(), b"garba")[..], [Word::OutOfStep]);
    }

    #[test]
    fn every_status_is_one_that_exists() {
        for raw in [0, 0x100, 9, 0x8b, 0x7f, 0xffff_ffff, 0xff00] {
            match exit_status(raw) {
                ExitStatus::Code(0..=255) | ExitStatus::Signal(1..=64) => {}
                other => panic!("{raw:x}: {other:?}"),
            }
        }
        assert_eq!(exit_status(0x8b), ExitStatus::Signal(11));
    }
}
