//! A program that runs: its pipes, and when it is over.
//!
//! ```text
//! running ──main process ends──▶ draining ──all pipes done──▶ Exited
//! ```
//!
//! What the main process wrote is in its pipes when it ends, and is passed on however slow the host reads. What others write
//! later is taken until they are dead or [`LINGER`] is over.

use std::{os::fd::OwnedFd, time::Instant};

use vulcan_guest_protocol::{DATA_BYTES_MAX, ExitStatus, Exited, GuestFrame, ProgramMode};

use crate::{
    limits::{LINGER, STDIN_BYTES_MAX},
    process::Child,
    result::Report,
};

/// Which pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The shim's report.
    Report,
}

/// What becomes of the rest when the main process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtEnd {
    /// Everything in the guest is killed.
    KillAll,
    /// Its process group is killed.
    KillGroup,
    /// What it left in the background goes on.
    Leave,
}

/// What a request promised and asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// How much input comes; `None` when only its end tells.
    pub(crate) input_bytes: Option<u64>,
    pub(crate) output_bytes_max: u64,
    pub(crate) at_end: AtEnd,
}

/// One running program.
#[derive(Debug)]
pub(crate) struct Program {
    pid: i32,
    at_end: AtEnd,
    stdin: Option<Stdin>,
    pipes: Vec<Pipe>,
    report: Report,
    ended: Option<(ExitStatus, Instant)>,
}

#[derive(Debug)]
struct Stdin {
    fd: OwnedFd,
    waiting: Vec<u8>,
    written: usize,
    /// What is still to come from the host; `None` when only its end tells.
    missing: Option<u64>,
}

#[derive(Debug)]
struct Pipe {
    stream: Stream,
    fd: OwnedFd,
    /// What the main process left in the pipe when it ended.
    owed: usize,
}

impl Program {
    pub(crate) fn new(child: Child, terms: Terms) -> Self {
        let pipes = [
            (Stream::Stdout, Some(child.stdout)),
            (Stream::Stderr, Some(child.stderr)),
            (Stream::Report, child.report),
        ];
        let mut program = Self {
            pid: child.pid,
            at_end: terms.at_end,
            stdin: Some(Stdin {
                fd: child.stdin,
                waiting: Vec::new(),
                written: 0,
                missing: terms.input_bytes,
            }),
            pipes: pipes
                .into_iter()
                .filter_map(|(stream, fd)| fd.map(|fd| Pipe { stream, fd, owed: 0 }))
                .collect(),
            report: Report::new(terms.output_bytes_max),
            ended: None,
        };
        program.write_stdin();
        program
    }

    pub(crate) const fn pid(&self) -> i32 {
        self.pid
    }

    pub(crate) const fn at_end(&self) -> AtEnd {
        self.at_end
    }

    pub(crate) const fn is_running(&self) -> bool {
        self.ended.is_none()
    }

    /// Returns standard input where something waits for it.
    pub(crate) fn stdin_to_poll(&self) -> Option<&OwnedFd> {
        self.stdin
            .as_ref()
            .filter(|stdin| !stdin.waiting.is_empty())
            .map(|stdin| &stdin.fd)
    }

    /// Returns the pipes to read from.
    pub(crate) fn pipes_to_poll(&self) -> impl Iterator<Item = (Stream, &OwnedFd)> {
        self.pipes.iter().map(|pipe| (pipe.stream, &pipe.fd))
    }

    /// Returns whether the host must wait until the program has read. Announced input is held whole instead.
    pub(crate) fn holds_host_up(&self) -> bool {
        self.stdin
            .as_ref()
            .is_some_and(|stdin| stdin.missing.is_none() && stdin.waiting.len() > STDIN_BYTES_MAX)
    }

    /// Takes input; what is beyond the announced length, or behind the end of the pipe, is nobody's.
    pub(crate) fn take_input(&mut self, data: &[u8]) {
        let Some(stdin) = &mut self.stdin else {
            return;
        };
        let length = match &mut stdin.missing {
            None => data.len(),
            Some(missing) => {
                let length = usize::try_from(*missing).unwrap_or(usize::MAX).min(data.len());
                *missing -= length as u64;
                length
            }
        };
        stdin.waiting.extend_from_slice(&data[..length]);
        self.write_stdin();
    }

    /// Marks the input as whole.
    pub(crate) fn end_input(&mut self) {
        if let Some(stdin) = &mut self.stdin {
            stdin.missing = Some(0);
        }
        self.write_stdin();
    }

    /// Writes as much input as the program takes, and closes the pipe behind the last byte.
    pub(crate) fn write_stdin(&mut self) {
        let Some(stdin) = &mut self.stdin else {
            return;
        };
        while stdin.written < stdin.waiting.len() {
            match rustix::io::write(&stdin.fd, &stdin.waiting[stdin.written..]) {
                Ok(count) => stdin.written += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    if stdin.written > STDIN_BYTES_MAX / 2 {
                        stdin.waiting.drain(..stdin.written);
                        stdin.written = 0;
                    }
                    return;
                }
                // The program does not want to read any more.
                Err(_) => {
                    self.stdin = None;
                    return;
                }
            }
        }
        stdin.waiting.clear();
        stdin.written = 0;
        if stdin.missing == Some(0) {
            self.stdin = None;
        }
    }

    /// Reads once from a pipe; `None` when there is nothing now, otherwise what the host gets to see of it.
    pub(crate) fn read(&mut self, stream: Stream) -> Option<Option<GuestFrame>> {
        let index = self.pipes.iter().position(|pipe| pipe.stream == stream)?;
        let pipe = &mut self.pipes[index];
        let mut data = Vec::with_capacity(DATA_BYTES_MAX);
        match rustix::io::read(&pipe.fd, rustix::buffer::spare_capacity(&mut data)) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => None,
            Ok(0) | Err(_) => {
                self.pipes.swap_remove(index);
                None
            }
            Ok(count) => {
                pipe.owed = pipe.owed.saturating_sub(count);
                Some(self.frame(stream, data))
            }
        }
    }

    fn frame(&mut self, stream: Stream, data: Vec<u8>) -> Option<GuestFrame> {
        match stream {
            Stream::Stdout => Some(GuestFrame::Stdout(data)),
            Stream::Stderr => Some(GuestFrame::Stderr(data)),
            Stream::Report => {
                let result = self.report.take(&data);
                (!result.is_empty()).then(|| GuestFrame::Output(result.to_vec()))
            }
        }
    }

    /// Returns whether the program has said more than it may, and should be killed.
    pub(crate) const fn is_beyond_limits(&self) -> bool {
        self.report.is_too_large()
    }

    /// Notes that the main process is over.
    pub(crate) fn end(&mut self, status: ExitStatus, now: Instant) {
        self.ended = Some((status, now));
        self.stdin = None;
        for pipe in &mut self.pipes {
            pipe.owed = rustix::io::ioctl_fionread(&pipe.fd)
                .ok()
                .and_then(|count| usize::try_from(count).ok())
                .unwrap_or(0);
        }
    }

    /// Returns when to stop waiting for processes that hold the pipes of an ended program open.
    pub(crate) fn lingers_until(&self) -> Option<Instant> {
        let (_, ended_at) = self.ended?;
        let is_owed = self.pipes.iter().any(|pipe| pipe.owed > 0);
        (!self.pipes.is_empty() && !is_owed).then(|| ended_at + LINGER)
    }

    /// Returns the last frame, when everything before it was said.
    pub(crate) fn exited(&self, now: Instant) -> Option<Exited> {
        let (status, ended_at) = self.ended?;
        let is_over = now.duration_since(ended_at) >= LINGER;
        let is_done = self.pipes.is_empty() || (is_over && self.pipes.iter().all(|pipe| pipe.owed == 0));
        is_done.then(|| Exited {
            reusable: 0,
            status,
            mode: self.mode(),
            error: self.report.error(),
        })
    }

    fn mode(&self) -> ProgramMode {
        self.report.mode()
    }
}
