//! What a shim reports through descriptor 3.
//!
//! ```text
//! 'H'                a handler was found and is called
//! 'R' JSON…          its result, until the end of the pipe
//! 'E' JSON…          an error as {"code", "message", "stack"}, until the end of the pipe; also without 'H'
//! ```
//!
//! The program can write there as well: it can only lie about itself.

use serde_json::from_slice;
use vulcan_guest_protocol::{GuestError, ProgramMode};

use crate::limits::REPORT_BYTES_MAX;

/// What was reported until now.
#[derive(Debug)]
pub(crate) struct Report {
    state: State,
    is_handler: bool,
    error: Vec<u8>,
    room: u64,
    is_too_large: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Tag,
    Result,
    Error,
    Noise,
}

impl Report {
    pub(crate) const fn new(output_bytes_max: u64) -> Self {
        Self {
            state: State::Tag,
            is_handler: false,
            error: Vec::new(),
            room: output_bytes_max,
            is_too_large: false,
        }
    }

    /// The report of a later call: everybody knows that there is a handler.
    pub(crate) fn of_call(output_bytes_max: u64) -> Self {
        Self {
            is_handler: true,
            ..Self::new(output_bytes_max)
        }
    }

    /// Takes the next bytes, and returns those that belong to the result.
    pub(crate) fn take<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while self.state == State::Tag
            && let Some((tag, rest)) = bytes.split_first()
        {
            bytes = rest;
            match tag {
                b'H' => self.is_handler = true,
                b'R' if self.is_handler => self.state = State::Result,
                b'E' => self.state = State::Error,
                _ => self.state = State::Noise,
            }
        }
        match self.state {
            State::Result => self.result(bytes),
            State::Error => {
                let room = REPORT_BYTES_MAX - self.error.len();
                self.error.extend_from_slice(&bytes[..bytes.len().min(room)]);
                &[]
            }
            State::Tag | State::Noise => &[],
        }
    }

    fn result<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if bytes.len() as u64 > self.room {
            self.is_too_large = true;
            self.state = State::Noise;
            return &[];
        }
        self.room -= bytes.len() as u64;
        bytes
    }

    /// Returns whether the result is longer than allowed; the program need not go on.
    pub(crate) const fn is_too_large(&self) -> bool {
        self.is_too_large
    }

    pub(crate) const fn mode(&self) -> ProgramMode {
        if self.is_handler {
            ProgramMode::Handler
        } else {
            ProgramMode::Script
        }
    }

    pub(crate) fn error(&self) -> Option<GuestError> {
        if self.is_too_large {
            return Some(GuestError {
                code: "output_too_large".into(),
                message: "the handler's result is larger than allowed".into(),
                stack: None,
            });
        }
        (self.state == State::Error).then(|| {
            from_slice(&self.error).unwrap_or_else(|error| GuestError {
                code: "exception".into(),
                message: format!("the program failed, and its report cannot be read: {error}"),
                stack: None,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_passed_on_however_it_was_cut() {
        let mut report = Report::new(10);
        let found: Vec<u8> = [&b"H"[..], b"R[1", b",2]"]
            .into_iter()
            .flat_map(|piece| report.take(piece).to_vec())
            .collect();
        assert_eq!(found, b"[1,2]");
        assert_eq!((report.mode(), report.error()), (ProgramMode::Handler, None));
    }

    #[test]
    fn a_result_beyond_the_limit_is_an_error() {
        let mut report = Report::new(3);
        assert_eq!(report.take(b"HR123"), b"123");
        assert_eq!(report.take(b"4"), b"");
        assert_eq!(
            report.error().map(|error| error.code),
            Some("output_too_large".into())
        );
    }

    #[test]
    fn an_error_without_a_handler_is_that_of_a_script() {
        let mut report = Report::new(3);
        report.take(br#"E{"code":"exception","message":"m","stack":null}"#);
        assert_eq!(report.mode(), ProgramMode::Script);
        assert_eq!(report.error().map(|error| error.message), Some("m".into()));
    }

    #[test]
    fn noise_says_nothing() {
        let mut report = Report::new(100);
        assert_eq!(report.take(b"R1"), b"");
        assert_eq!(report.take(b"HE{"), b"");
        assert_eq!((report.mode(), report.error()), (ProgramMode::Script, None));
    }

    #[test]
    fn an_error_that_cannot_be_read_is_still_an_error() {
        let mut report = Report::new(100);
        report.take(b"E{");
        assert_eq!(report.error().map(|error| error.code), Some("exception".into()));
    }
}
