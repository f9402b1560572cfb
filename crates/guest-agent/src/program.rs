//! A program that runs: its pipes, and when it is over.
//!
//! ```text
//! running ──main process ends───────────▶ draining ──all pipes done──▶ Exited
//!    └──────call over, handler stays────▶ draining ──owed bytes done─▶ Exited, and idle until the next call
//! ```
//!
//! What the main process wrote is in its pipes when it ends, or says that a call is over, and is passed on however slow the
//! host reads. What others write later is taken until they are dead or [`LINGER`] is over; behind a call, it is the next one's.

use std::{io, os::fd::OwnedFd, time::Instant};

use vulcan_guest_protocol::{DATA_BYTES_MAX, ExitStatus, Exited, GuestFrame, InvokeMode, ProgramMode};

use crate::{
    feed::{self, Fed, Feed},
    limits::LINGER,
    process::Child,
    result::Report,
    words::{Word, Words},
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
    /// The words of a resident interpreter.
    Words,
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
    /// In which mode it stays with its handler; `None` when it does not.
    pub(crate) stays: Option<InvokeMode>,
}

impl Terms {
    /// Those of an interpreter that has no code yet.
    const BLANK: Self = Self {
        input_bytes: Some(0),
        output_bytes_max: 0,
        at_end: AtEnd::KillGroup,
        stays: None,
    };
}

/// Where the input of the request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Stdin,
    Jobs,
}

/// One running program.
#[derive(Debug)]
pub(crate) struct Program {
    pid: i32,
    terms: Terms,
    input: Input,
    stdin: Option<Feed>,
    jobs: Option<Feed>,
    pipes: Vec<Pipe>,
    report: Report,
    words: Words,
    /// It waits for code.
    is_ready: bool,
    /// The host knows that it runs.
    is_announced: bool,
    is_out_of_step: bool,
    /// How the call went that is over, while the process stays.
    over: Option<ExitStatus>,
    ended: Option<(ExitStatus, Instant)>,
}

#[derive(Debug)]
struct Pipe {
    stream: Stream,
    fd: OwnedFd,
    /// What is left in the pipe of what belongs to the program, or the call, that is over.
    owed: usize,
}

impl Program {
    pub(crate) fn new(child: Child, terms: Terms) -> io::Result<Self> {
        let words = child.jobs.as_ref().map(OwnedFd::try_clone).transpose()?;
        let pipes = [
            (Stream::Stdout, Some(child.stdout)),
            (Stream::Stderr, Some(child.stderr)),
            (Stream::Report, child.report),
            (Stream::Words, words),
        ];
        let mut program = Self {
            pid: child.pid,
            terms,
            input: Input::Stdin,
            stdin: Some(Feed::new(child.stdin, terms.input_bytes, feed::AtEnd::Close)),
            jobs: child.jobs.map(|fd| Feed::new(fd, Some(0), feed::AtEnd::Stay)),
            pipes: pipes
                .into_iter()
                .filter_map(|(stream, fd)| fd.map(|fd| Pipe { stream, fd, owed: 0 }))
                .collect(),
            report: Report::new(terms.output_bytes_max),
            words: Words::default(),
            is_ready: false,
            is_announced: false,
            is_out_of_step: false,
            over: None,
            ended: None,
        };
        if terms.input_bytes == Some(0) && program.jobs.is_none() {
            program.write();
        }
        Ok(program)
    }

    /// An interpreter that waits for code.
    pub(crate) fn resident(child: Child) -> io::Result<Self> {
        Self::new(child, Terms::BLANK)
    }

    /// Gives a resident interpreter its code; the input follows through standard input.
    pub(crate) fn begin(&mut self, job: &[u8], terms: Terms) {
        self.terms = terms;
        self.report = Report::new(terms.output_bytes_max);
        if let Some(jobs) = &mut self.jobs {
            jobs.begin(job, 0);
        }
        if let Some(stdin) = &mut self.stdin {
            stdin.begin(&[], terms.input_bytes.unwrap_or(0));
        }
        self.write();
    }

    /// Begins another call of a handler that stayed; the input follows behind the head of the job.
    pub(crate) fn begin_call(&mut self, head: &[u8], terms: Terms) {
        self.terms = terms;
        self.report = Report::of_call(terms.output_bytes_max);
        self.over = None;
        self.is_announced = false;
        self.input = Input::Jobs;
        if let Some(jobs) = &mut self.jobs {
            jobs.begin(head, terms.input_bytes.unwrap_or(0));
        }
    }

    pub(crate) const fn pid(&self) -> i32 {
        self.pid
    }

    pub(crate) const fn at_end(&self) -> AtEnd {
        self.terms.at_end
    }

    pub(crate) const fn stays(&self) -> Option<InvokeMode> {
        self.terms.stays
    }

    pub(crate) const fn is_running(&self) -> bool {
        self.ended.is_none()
    }

    pub(crate) const fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Returns whether it is over, or the call is: only what is owed is passed on.
    pub(crate) const fn is_draining(&self) -> bool {
        self.ended.is_some() || self.over.is_some()
    }

    /// Returns whether the host is yet to hear that it runs; says so once.
    pub(crate) const fn announce(&mut self) -> bool {
        !std::mem::replace(&mut self.is_announced, true)
    }

    /// Returns what has something to write.
    pub(crate) fn feeds_to_poll(&self) -> impl Iterator<Item = &OwnedFd> {
        [&self.stdin, &self.jobs]
            .into_iter()
            .filter_map(|feed| feed.as_ref().and_then(Feed::to_poll))
    }

    /// Returns the pipes to read from.
    pub(crate) fn pipes_to_poll(&self) -> impl Iterator<Item = (Stream, &OwnedFd)> {
        self.pipes
            .iter()
            .filter(|pipe| self.over.is_none() || pipe.owed > 0)
            .map(|pipe| (pipe.stream, &pipe.fd))
    }

    /// Returns whether the host must wait until the program has read. Announced input is held whole instead.
    pub(crate) fn holds_host_up(&self) -> bool {
        self.stdin.as_ref().is_some_and(Feed::holds_host_up)
    }

    /// Takes input; what is beyond the announced length, or behind the end of the pipe, is nobody's.
    pub(crate) fn take_input(&mut self, data: &[u8]) {
        let feed = match self.input {
            Input::Stdin => &mut self.stdin,
            Input::Jobs => &mut self.jobs,
        };
        if let Some(feed) = feed {
            feed.take(data);
        }
        self.write();
    }

    /// Marks the input as whole.
    pub(crate) fn end_input(&mut self) {
        if let (Input::Stdin, Some(stdin)) = (self.input, &mut self.stdin) {
            stdin.end();
        }
        self.write();
    }

    /// Writes as much as the program takes, and closes standard input behind its last byte.
    pub(crate) fn write(&mut self) {
        for feed in [&mut self.stdin, &mut self.jobs] {
            if feed.as_mut().is_some_and(|feed| feed.write() == Fed::Over) {
                *feed = None;
            }
        }
    }

    /// Reads once from a pipe; `None` when there is nothing now, otherwise what the host gets to see of it.
    pub(crate) fn read(&mut self, stream: Stream) -> Option<Option<GuestFrame>> {
        let index = self.pipes.iter().position(|pipe| pipe.stream == stream)?;
        let pipe = &mut self.pipes[index];
        let most = if self.over.is_some() && self.ended.is_none() {
            pipe.owed.min(DATA_BYTES_MAX)
        } else {
            DATA_BYTES_MAX
        };
        if most == 0 {
            return None;
        }
        let mut data = Vec::with_capacity(most);
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
        let result = match stream {
            Stream::Stdout => return Some(GuestFrame::Stdout(data)),
            Stream::Stderr => return Some(GuestFrame::Stderr(data)),
            Stream::Report => self.report.take(&data).to_vec(),
            Stream::Words => self.listen(&data),
        };
        (!result.is_empty()).then_some(GuestFrame::Output(result))
    }

    /// Takes a resident's words, and returns what of them belongs to the result.
    fn listen(&mut self, mut data: &[u8]) -> Vec<u8> {
        let mut result = Vec::new();
        while let Some(word) = self.words.next(&mut data) {
            match word {
                Word::Ready => self.is_ready = true,
                Word::Report(piece) => result.extend_from_slice(self.report.take(piece)),
                // Nothing follows until the next call.
                Word::Over(status) if data.is_empty() && self.stays().is_some() => self.call_over(status),
                Word::Over(_) | Word::OutOfStep => {
                    self.is_out_of_step = true;
                    break;
                }
            }
        }
        result
    }

    fn call_over(&mut self, status: ExitStatus) {
        self.over = Some(status);
        self.note_owed();
    }

    fn note_owed(&mut self) {
        for pipe in &mut self.pipes {
            if pipe.stream != Stream::Words {
                pipe.owed = rustix::io::ioctl_fionread(&pipe.fd)
                    .ok()
                    .and_then(|count| usize::try_from(count).ok())
                    .unwrap_or(0);
            }
        }
    }

    /// Returns whether the program must be killed: it has said more than it may and has nothing else to do, or what it says
    /// makes no sense.
    pub(crate) const fn is_beyond_limits(&self) -> bool {
        (self.report.is_too_large() && self.terms.stays.is_none()) || self.is_out_of_step
    }

    /// Notes that the main process is over.
    pub(crate) fn end(&mut self, status: ExitStatus, now: Instant) {
        self.ended = Some((status, now));
        self.stdin = None;
        self.jobs = None;
        self.note_owed();
    }

    /// Returns when to stop waiting for processes that hold the pipes of an ended program open.
    pub(crate) fn lingers_until(&self) -> Option<Instant> {
        let (_, ended_at) = self.ended?;
        (!self.pipes.is_empty() && !self.is_owed()).then(|| ended_at + LINGER)
    }

    fn is_owed(&self) -> bool {
        self.pipes.iter().any(|pipe| pipe.owed > 0)
    }

    /// Returns the last frame of the request, when everything before it was said.
    pub(crate) fn exited(&self, now: Instant) -> Option<Exited> {
        let (status, reusable) = match (self.ended, self.over) {
            (Some((status, ended_at)), over) => {
                let is_over = now.duration_since(ended_at) >= LINGER;
                let is_done = self.pipes.is_empty() || (is_over && !self.is_owed());
                if !is_done {
                    return None;
                }
                (over.unwrap_or(status), 0)
            }
            (None, Some(status)) if !self.is_owed() => (status, 1),
            (None, _) => return None,
        };
        let error = self.report.error();
        Some(Exited {
            // A handler that failed is no success, whatever its process says.
            status: match status {
                ExitStatus::Code(0) if error.is_some() && self.over.is_some() => ExitStatus::Code(1),
                other => other,
            },
            mode: self.mode(),
            error,
            reusable,
        })
    }

    fn mode(&self) -> ProgramMode {
        self.report.mode()
    }
}
