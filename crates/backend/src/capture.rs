//! The result of a script: its standard output, where that is a single JSON value. Pure.

use serde_json::Value;
use vulcan_api::{ErrorCode, WorkloadError};
use vulcan_guest_protocol::ExitStatus;

/// Keeps standard output for as long as it can be one JSON value.
///
/// Holds at most `bytes_max` bytes, and nothing as soon as the output cannot be JSON.
#[derive(Debug)]
pub struct StdoutCapture {
    bytes_max: usize,
    kept: Vec<u8>,
    state: State,
    last: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Only white space until now.
    Blank,
    /// It may become a JSON value.
    Possible,
    /// It may be a JSON document, and is longer than the cap.
    TooLarge,
    /// It is something else.
    Other,
}

impl StdoutCapture {
    /// Makes an empty one that keeps at most `bytes_max` bytes.
    #[must_use]
    pub const fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            kept: Vec::new(),
            state: State::Blank,
            last: 0,
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        if self.state == State::Blank {
            rest = bytes.trim_ascii_start();
            let Some(first) = rest.first() else {
                return;
            };
            self.state = if begins_json(*first) {
                State::Possible
            } else {
                State::Other
            };
        }
        if let Some(last) = rest.trim_ascii_end().last() {
            self.last = *last;
        }
        if self.state == State::Possible {
            self.keep(rest);
        }
    }

    /// Returns the JSON value that the output is, or `None` when it is anything else.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::OutputTooLarge`] when it is beyond the cap and looks like one JSON document: it begins with one of
    /// `{ [ "` and ends with one of `} ] "`.
    pub fn finish(self) -> Result<Option<Value>, WorkloadError> {
        match self.state {
            State::Blank | State::Other => Ok(None),
            State::Possible => Ok(serde_json::from_slice(&self.kept).ok()),
            State::TooLarge if matches!(self.last, b'}' | b']' | b'"') => Err(too_large(self.bytes_max)),
            State::TooLarge => Ok(None),
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.bytes_max - self.kept.len();
        if bytes.len() <= room {
            self.kept.extend_from_slice(bytes);
            return;
        }
        // White space behind the value does not count.
        if bytes[room..].iter().all(u8::is_ascii_whitespace) {
            self.kept.extend_from_slice(&bytes[..room]);
            return;
        }
        let is_document = matches!(
            self.kept.first().or_else(|| bytes.first()),
            Some(b'{' | b'[' | b'"')
        );
        self.state = if is_document {
            State::TooLarge
        } else {
            State::Other
        };
        self.kept = Vec::new();
    }
}

/// Returns the error of a program that ended like this; `None` when it ended well.
#[must_use]
pub fn exit_error(status: ExitStatus) -> Option<WorkloadError> {
    match status {
        ExitStatus::Code(0) => None,
        ExitStatus::Code(code) => {
            let message = format!("the program ended with exit code {code}");
            Some(WorkloadError::new(ErrorCode::ExitCode, message))
        }
        ExitStatus::Signal(signal) => {
            let message = match signal_name(signal) {
                Some(name) => format!("killed by signal {signal} ({name})"),
                None => format!("killed by signal {signal}"),
            };
            Some(WorkloadError::new(ErrorCode::Signal, message))
        }
    }
}

pub(crate) fn too_large(bytes_max: usize) -> WorkloadError {
    let message = format!("the output is larger than the {bytes_max} bytes that are allowed");
    WorkloadError::new(ErrorCode::OutputTooLarge, message)
}

const fn begins_json(byte: u8) -> bool {
    matches!(byte, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n')
}

/// The names of `man 7 signal`, with the numbers of x86 and ARM.
const fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn capture(bytes_max: usize, pieces: &[&str]) -> Result<Option<Value>, WorkloadError> {
        let mut capture = StdoutCapture::new(bytes_max);
        for piece in pieces {
            capture.push(piece.as_bytes());
        }
        capture.finish()
    }

    #[test]
    fn a_single_json_value_is_the_output_however_it_was_cut() {
        assert_eq!(
            capture(100, &["\n {\"a\"", ": [1, 2]}", "\n\n"]),
            Ok(Some(json!({"a": [1, 2]})))
        );
        assert_eq!(capture(100, &["42\n"]), Ok(Some(json!(42))));
        assert_eq!(capture(100, &["nu", "ll"]), Ok(Some(Value::Null)));
    }

    #[test]
    fn anything_else_is_only_a_log() {
        for text in [
            "",
            " \n",
            "hello",
            "1 2",
            "{\"a\":1} {\"b\":2}",
            "{",
            "NaN",
            "1e999",
        ] {
            assert_eq!(capture(100, &[text]), Ok(None), "{text}");
        }
    }

    #[test]
    fn nesting_without_end_is_only_a_log() {
        assert_eq!(capture(1_000_000, &["[".repeat(500_000).as_str()]), Ok(None));
    }

    #[test]
    fn the_cap_is_the_last_length_that_fits() {
        assert_eq!(capture(7, &["\"12345\"\n"]), Ok(Some(json!("12345"))));
        assert_eq!(
            capture(6, &["\"12345\"\n"]).unwrap_err().code,
            ErrorCode::OutputTooLarge
        );
    }

    #[test]
    fn long_output_that_is_no_document_is_only_a_log() {
        assert_eq!(capture(4, &["1234567"]), Ok(None));
        assert_eq!(capture(4, &["[info] started"]), Ok(None));
    }

    #[test]
    fn an_exit_code_and_a_signal_are_said_in_words() {
        assert_eq!(exit_error(ExitStatus::Code(0)), None);
        assert_eq!(
            exit_error(ExitStatus::Code(3)),
            Some(WorkloadError::new(
                ErrorCode::ExitCode,
                "the program ended with exit code 3"
            ))
        );
        assert_eq!(
            exit_error(ExitStatus::Signal(11)),
            Some(WorkloadError::new(
                ErrorCode::Signal,
                "killed by signal 11 (SIGSEGV)"
            ))
        );
        assert_eq!(
            exit_error(ExitStatus::Signal(40)).map(|error| error.message),
            Some("killed by signal 40".into())
        );
    }
}
