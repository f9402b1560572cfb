//! What a guest may say about one program, and in which order. Pure: frames in, steps out.
//!
//! ```text
//! waiting ──Started──▶ running ──Exited──▶ (over)
//!    │  System          System, Stdout, Stderr, Output
//!    └──Refused──▶ (over)
//! ```
//!
//! A call of what is loaded runs from its first moment: it may be refused or start once more, as long as it said nothing else.

use bytes::Bytes;
use tokio::time::Instant;
use vulcan_api::{LogStream, Runtime};
use vulcan_guest_protocol::{ExitStatus, Exited, GuestFrame, ProgramMode, Refusal};

use super::outcome::{Ended, Finished, MESSAGE_BYTES_MAX, capped};
use crate::{Invocation, capture::StdoutCapture};

/// Remarks of the agent that are taken; it has few, and these lines count as the platform's own.
const SYSTEM_FRAMES_MAX: u32 = 64;
/// The longest remark.
const SYSTEM_BYTES_MAX: usize = 4 * 1024;
/// How much of the end of standard error is kept to explain a failure.
const STDERR_TAIL_BYTES: usize = 4 * 1024;

/// What a program was promised.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    output_bytes_max: usize,
    keeps_stdout: bool,
    keeps_stderr: bool,
}

impl Limits {
    /// Those of a command: it has no result.
    pub(super) const EXEC: Self = Self {
        output_bytes_max: 0,
        keeps_stdout: false,
        keeps_stderr: false,
    };

    pub(super) fn of(invocation: &Invocation) -> Self {
        let runtime = invocation.program.runtime;
        Self {
            output_bytes_max: invocation.output_bytes_max,
            keeps_stdout: runtime != Runtime::Go,
            keeps_stderr: matches!(runtime, Runtime::Go | Runtime::Bash),
        }
    }
}

/// What a frame means.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing for anybody else.
    None,
    /// Bytes for the log.
    Log {
        /// Where they came from.
        stream: LogStream,
        /// The bytes.
        bytes: Bytes,
    },
    /// It is over.
    Over(Finished),
}

/// One program's progress.
#[derive(Debug)]
pub(super) struct Run {
    limits: Limits,
    started_at: Option<Instant>,
    /// Nobody has heard of the program, although it counts as started.
    is_assumed: bool,
    system_frames: u32,
    output: Vec<u8>,
    stdout: Option<StdoutCapture>,
    stderr_tail: Vec<u8>,
}

impl Run {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            started_at: None,
            is_assumed: false,
            system_frames: 0,
            output: Vec::new(),
            stdout: limits
                .keeps_stdout
                .then(|| StdoutCapture::new(limits.output_bytes_max)),
            stderr_tail: Vec::new(),
        }
    }

    /// A call of what is loaded: nothing has to be started, and nobody waits to hear that it was.
    pub(super) fn of_loaded(limits: Limits) -> Self {
        Self {
            started_at: Some(Instant::now()),
            is_assumed: true,
            ..Self::new(limits)
        }
    }

    /// Takes the next frame; the error says how the guest broke the protocol.
    pub(super) fn take(&mut self, frame: GuestFrame) -> Result<Step, String> {
        let is_assumed = self.is_assumed;
        self.is_assumed &= matches!(frame, GuestFrame::System(_));
        match (self.started_at, frame) {
            (Some(_), GuestFrame::Started) if is_assumed => Ok(Step::None),
            (Some(_), GuestFrame::Refused(refusal)) if is_assumed => Ok(Step::Over(refused(refusal))),
            (_, GuestFrame::System(text)) => self.remark(text),
            (None, GuestFrame::Started) => {
                self.started_at = Some(Instant::now());
                Ok(Step::None)
            }
            (None, GuestFrame::Refused(refusal)) => Ok(Step::Over(refused(refusal))),
            (Some(_), GuestFrame::Stdout(data)) => Ok(self.stdout(data)),
            (Some(_), GuestFrame::Stderr(data)) => Ok(self.stderr(data)),
            (Some(_), GuestFrame::Output(data)) => self.output(&data),
            (Some(started_at), GuestFrame::Exited(exited)) => self.exited(started_at, exited),
            (_, frame) => Err(format!("{} out of order", name(&frame))),
        }
    }

    fn remark(&mut self, mut text: Vec<u8>) -> Result<Step, String> {
        self.system_frames += 1;
        if self.system_frames > SYSTEM_FRAMES_MAX {
            return Err(format!("more than {SYSTEM_FRAMES_MAX} remarks of the agent"));
        }
        text.truncate(SYSTEM_BYTES_MAX);
        Ok(Step::Log {
            stream: LogStream::System,
            bytes: text.into(),
        })
    }

    fn stdout(&mut self, data: Vec<u8>) -> Step {
        if let Some(capture) = &mut self.stdout {
            capture.push(&data);
        }
        Step::Log {
            stream: LogStream::Stdout,
            bytes: data.into(),
        }
    }

    fn stderr(&mut self, data: Vec<u8>) -> Step {
        if self.limits.keeps_stderr {
            self.stderr_tail.extend_from_slice(&data);
            let excess = self.stderr_tail.len().saturating_sub(STDERR_TAIL_BYTES);
            self.stderr_tail.drain(..excess);
        }
        Step::Log {
            stream: LogStream::Stderr,
            bytes: data.into(),
        }
    }

    fn output(&mut self, data: &[u8]) -> Result<Step, String> {
        if self.output.len() + data.len() > self.limits.output_bytes_max {
            return Err(format!(
                "a result of more than the {} bytes that were allowed",
                self.limits.output_bytes_max
            ));
        }
        self.output.extend_from_slice(data);
        Ok(Step::None)
    }

    fn exited(&mut self, started_at: Instant, exited: Exited) -> Result<Step, String> {
        match exited.status {
            ExitStatus::Code(0..=255) | ExitStatus::Signal(1..=64) => {}
            ExitStatus::Code(number) | ExitStatus::Signal(number) => {
                return Err(format!("an exit status that does not exist: {number}"));
            }
        }
        if exited.mode == ProgramMode::Script && !self.output.is_empty() {
            return Err("a handler's result of a script".into());
        }
        Ok(Step::Over(Finished::Exited(Ended {
            status: exited.status,
            mode: exited.mode,
            error: exited.error,
            reusable: exited.reusable,
            output: std::mem::take(&mut self.output),
            stdout: self.stdout.take(),
            stderr_tail: std::mem::take(&mut self.stderr_tail),
            started_at,
        })))
    }
}

fn refused(refusal: Refusal) -> Finished {
    Finished::Refused(Refusal {
        code: refusal.code,
        message: capped(refusal.message, MESSAGE_BYTES_MAX),
    })
}

const fn name(frame: &GuestFrame) -> &'static str {
    match frame {
        GuestFrame::Welcome(_) => "a welcome",
        GuestFrame::Started => "a start",
        GuestFrame::Stdout(_) => "standard output",
        GuestFrame::Stderr(_) => "standard error",
        GuestFrame::System(_) => "a remark",
        GuestFrame::Output(_) => "a result",
        GuestFrame::Exited(_) => "an exit",
        GuestFrame::FileData(_) => "file data",
        GuestFrame::Done => "a completion",
        GuestFrame::Refused(_) => "a refusal",
    }
}
