//! The file format: a line that names the version, then one JSON array per line of the log.
//!
//! ```text
//! vulcan-log 1
//! [1763805600007,"o",0,"the text"]
//! ```
//!
//! The elements are: milliseconds since 1970, the stream (`o`, `e` or `s`), 1 where the line was cut, the text. JSON escapes
//! the line end, so that no text can end a record or begin another. A line's id is the offset of the byte after its record,
//! which is where reading goes on.

use vulcan_api::{LogLine, LogStream, Timestamp};

/// The first line of a log file.
pub(super) const HEADER: &[u8] = b"vulcan-log 1\n";

/// The longest text of a line, in bytes; a longer one is cut.
pub(super) const TEXT_BYTES_MAX: usize = 16 * 1024;

/// More than any record needs: every byte of the longest text may become `\u0000`.
pub(super) const RECORD_BYTES_MAX: usize = TEXT_BYTES_MAX * 6 + 64;

/// Appends the record of a line.
pub(super) fn encode(record: &mut Vec<u8>, time: Timestamp, stream: LogStream, partial: Partial, text: &str) {
    let code = match stream {
        LogStream::Stdout => 'o',
        LogStream::Stderr => 'e',
        LogStream::System => 's',
    };
    let fields = (time.as_millis(), code, u8::from(partial == Partial::Yes), text);
    serde_json::to_writer(&mut *record, &fields)
        .expect("numbers and texts are JSON, and memory takes every write");
    record.push(b'\n');
}

/// Whether a line was cut because it is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Partial {
    Yes,
    No,
}

/// Reads a record without its line end; `None` where it is none.
pub(super) fn decode(record: &[u8], id: u64) -> Option<LogLine> {
    let (millis, code, partial, text): (i64, char, u8, String) = serde_json::from_slice(record).ok()?;
    let stream = match code {
        'o' => LogStream::Stdout,
        'e' => LogStream::Stderr,
        's' => LogStream::System,
        _ => return None,
    };
    Some(LogLine {
        id,
        time: Timestamp::from_millis(millis),
        stream,
        text,
        partial: partial == 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_whatever_its_text() {
        let mut record = Vec::new();
        let text = "a\n[1,\"s\",0,\"forged\"]\n\u{1b}[31m";
        encode(
            &mut record,
            Timestamp::from_millis(7),
            LogStream::Stdout,
            Partial::No,
            text,
        );

        insta::assert_snapshot!(String::from_utf8(record.clone()).unwrap(), @r#"[7,"o",0,"a\n[1,\"s\",0,\"forged\"]\n\u001b[31m"]"#);
        assert_eq!(record.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(decode(record.trim_ascii_end(), 9).unwrap().text, text);
    }

    #[test]
    fn the_longest_record_has_its_limit() {
        let mut record = Vec::new();
        let text = "\0".repeat(TEXT_BYTES_MAX);
        encode(
            &mut record,
            Timestamp::from_millis(i64::MIN),
            LogStream::Stderr,
            Partial::Yes,
            &text,
        );

        assert!(record.len() <= RECORD_BYTES_MAX, "{}", record.len());
    }

    #[test]
    fn what_is_no_record_is_not_read() {
        for bad in [
            "",
            "[]",
            "[1,\"x\",0,\"\"]",
            "[1,\"o\",0,\"\"",
            "{}",
            "[1,\"o\",0,\"\",1]",
        ] {
            assert_eq!(decode(bad.as_bytes(), 0), None, "{bad}");
        }
    }
}
