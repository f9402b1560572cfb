//! Chunks of bytes, cut anywhere, become lines.

use std::borrow::Cow;

use vulcan_api::LogStream;

use super::format::{Partial, TEXT_BYTES_MAX};

/// What waits for its line end, per stream; never more than [`TEXT_BYTES_MAX`] each.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    system: Vec<u8>,
}

impl Splitter {
    const STREAMS: [LogStream; 3] = [LogStream::Stdout, LogStream::Stderr, LogStream::System];

    fn waiting(&mut self, stream: LogStream) -> &mut Vec<u8> {
        match stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
            LogStream::System => &mut self.system,
        }
    }

    /// Takes a chunk, and gives away every line that it completes.
    pub(super) fn push(
        &mut self,
        stream: LogStream,
        mut bytes: &[u8],
        mut line: impl FnMut(LogStream, Cow<'_, str>, Partial),
    ) {
        let waiting = self.waiting(stream);
        while let Some(&first) = bytes.first() {
            let room = TEXT_BYTES_MAX - waiting.len();
            if room == 0 && first != b'\n' {
                let cut = char_boundary(waiting);
                line(stream, String::from_utf8_lossy(&waiting[..cut]), Partial::Yes);
                waiting.drain(..cut);
                continue;
            }
            let end = bytes.iter().take(room + 1).position(|byte| *byte == b'\n');
            let taken = end.unwrap_or(room.min(bytes.len()));
            waiting.extend_from_slice(&bytes[..taken]);
            if end.is_some() {
                line(stream, String::from_utf8_lossy(waiting), Partial::No);
                waiting.clear();
            }
            bytes = &bytes[taken + usize::from(end.is_some())..];
        }
    }

    /// Gives away what waits for a line end that never came.
    pub(super) fn finish(&mut self, mut line: impl FnMut(LogStream, Cow<'_, str>, Partial)) {
        for stream in Self::STREAMS {
            let waiting = std::mem::take(self.waiting(stream));
            if !waiting.is_empty() {
                line(stream, String::from_utf8_lossy(&waiting), Partial::No);
            }
        }
    }
}

/// Returns where to cut so that no character is cut: at most 3 bytes before the end (RFC 3629).
fn char_boundary(bytes: &[u8]) -> usize {
    let mut tail = bytes.len();
    for back in 1..=3 {
        let Some(&byte) = bytes.get(bytes.len().wrapping_sub(back)) else {
            break;
        };
        let is_lead = (0xC2..=0xF4).contains(&byte);
        if is_lead {
            let len = if byte >= 0xF0 {
                4
            } else if byte >= 0xE0 {
                3
            } else {
                2
            };
            if len > back {
                tail = bytes.len() - back;
            }
            break;
        }
    }
    tail
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[(LogStream, &[u8])]) -> Vec<(LogStream, String, Partial)> {
        let mut splitter = Splitter::default();
        let mut lines = Vec::new();
        for (stream, bytes) in chunks {
            splitter.push(*stream, bytes, |stream, text, partial| {
                lines.push((stream, text.into_owned(), partial));
            });
        }
        splitter.finish(|stream, text, partial| lines.push((stream, text.into_owned(), partial)));
        lines
    }

    fn whole(text: &str) -> (LogStream, String, Partial) {
        (LogStream::Stdout, text.to_owned(), Partial::No)
    }

    #[test]
    fn a_line_may_come_in_pieces_and_a_piece_may_hold_lines() {
        let out = LogStream::Stdout;
        assert_eq!(
            lines(&[(out, b"a"), (out, b"b\nc\n\n"), (out, b"d")]),
            [whole("ab"), whole("c"), whole(""), whole("d")]
        );
    }

    #[test]
    fn streams_do_not_mix() {
        assert_eq!(
            lines(&[
                (LogStream::Stdout, b"a"),
                (LogStream::Stderr, b"b\n"),
                (LogStream::Stdout, b"c\n")
            ]),
            [(LogStream::Stderr, "b".to_owned(), Partial::No), whole("ac")]
        );
    }

    #[test]
    fn a_long_line_is_cut_and_says_so() {
        let text = "x".repeat(TEXT_BYTES_MAX * 2 + 5);
        let cut = lines(&[(LogStream::Stdout, text.as_bytes()), (LogStream::Stdout, b"\n")]);
        let shape: Vec<_> = cut
            .iter()
            .map(|(_, text, partial)| (text.len(), *partial))
            .collect();
        assert_eq!(
            shape,
            [
                (TEXT_BYTES_MAX, Partial::Yes),
                (TEXT_BYTES_MAX, Partial::Yes),
                (5, Partial::No)
            ]
        );
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_whole() {
        let text = format!("{}\n", "x".repeat(TEXT_BYTES_MAX));
        let cut = lines(&[(LogStream::Stdout, text.as_bytes())]);
        assert_eq!(cut.len(), 1);
        assert_eq!(cut[0].2, Partial::No);
    }

    #[test]
    fn a_cut_does_not_break_a_character() {
        for shift in 0..4 {
            let text = format!("{}{}", "x".repeat(shift), "🦀".repeat(TEXT_BYTES_MAX / 2));
            let joined: String = lines(&[(LogStream::Stdout, text.as_bytes())])
                .into_iter()
                .map(|line| line.1)
                .collect();
            assert_eq!(joined, text);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(
            lines(&[(LogStream::Stdout, b"a\xff\xfeb\n")]),
            [whole("a\u{fffd}\u{fffd}b")]
        );
        let garbage = vec![0xff; TEXT_BYTES_MAX * 3];
        assert_eq!(lines(&[(LogStream::Stdout, &garbage)]).len(), 3);
    }
}
