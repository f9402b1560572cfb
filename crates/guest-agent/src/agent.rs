//! The loop: waits for anything to happen, and lets every party have its turn.

use std::{
    collections::BTreeMap,
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::DumpableBehavior;
use vulcan_guest_protocol::GuestFrame;

use crate::{
    connection::{Connection, Error},
    files::{Reading, Writing},
    limits::REAPED_MAX,
    places::Places,
    program::{AtEnd, Program, Stream},
    sys,
    upload::Upload,
};

/// The descriptor of the protocol's stream.
const STREAM: i32 = 3;

/// Serves the host until it goes away or says so; then nothing else lives in the guest.
pub(crate) fn run(places: Places) -> Result<(), Error> {
    // Programs have the agent's user id: they must not trace it, nor read its memory or its files.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(std::io::Error::from)?;
    let connection = Connection::new(sys::take_stream(STREAM)?)?;
    let mut agent = Agent {
        connection,
        child_events: sys::child_events()?,
        channels: BTreeMap::new(),
        places,
        is_init: std::process::id() == 1,
        is_welcome: false,
        is_over: false,
        may_have_ended: false,
    };
    let result = agent.serve();
    agent.kill_everything();
    result
}

/// The guest's side of one conversation.
pub(crate) struct Agent {
    pub(crate) connection: Connection,
    child_events: std::os::fd::OwnedFd,
    pub(crate) channels: BTreeMap<u32, Channel>,
    pub(crate) places: Places,
    /// Whether this is the first process of a guest, so that everything else may be killed.
    is_init: bool,
    pub(crate) is_welcome: bool,
    pub(crate) is_over: bool,
    /// More children may have ended than were reaped.
    may_have_ended: bool,
}

/// What a channel is about.
pub(crate) enum Channel {
    Upload(Upload),
    Program(Box<Program>),
    Reading(Reading),
    Writing(Writing),
}

/// What a descriptor in the poll is.
#[derive(Clone, Copy)]
enum Token {
    Host,
    Children,
    Stdin(u32),
    Pipe(u32, Stream),
}

impl Agent {
    fn serve(&mut self) -> Result<(), Error> {
        while !self.is_over {
            for (token, events) in self.wait()? {
                self.handle(token, events)?;
            }
            if self.may_have_ended {
                self.reap();
            }
            self.pump_files()?;
            self.finish_programs()?;
            if !self.connection.flush()? {
                self.is_over = true;
            }
        }
        Ok(())
    }

    fn wait(&self) -> Result<Vec<(Token, PollFlags)>, Error> {
        let (tokens, mut fds): (Vec<Token>, Vec<PollFd<'_>>) = self
            .interests()
            .into_iter()
            .map(|(token, fd, events)| (token, PollFd::from_borrowed_fd(fd, events)))
            .unzip();
        let timeout = self.timeout();
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(std::io::Error::from(error).into()),
        }
        Ok(tokens
            .into_iter()
            .zip(fds.iter().map(PollFd::revents))
            .filter(|(_, events)| !events.is_empty())
            .collect())
    }

    fn interests(&self) -> Vec<(Token, BorrowedFd<'_>, PollFlags)> {
        use std::os::fd::AsFd;

        let mut host = PollFlags::empty();
        if self.takes_requests() {
            host |= PollFlags::IN;
        }
        if self.connection.has_waiting() {
            host |= PollFlags::OUT;
        }
        let mut interests = vec![
            (Token::Host, self.connection.stream().as_fd(), host),
            (Token::Children, self.child_events.as_fd(), PollFlags::IN),
        ];
        let has_room = self.connection.has_room();
        for (number, channel) in &self.channels {
            let Channel::Program(program) = channel else {
                continue;
            };
            if let Some(stdin) = program.stdin_to_poll() {
                interests.push((Token::Stdin(*number), stdin.as_fd(), PollFlags::OUT));
            }
            if has_room {
                interests.extend(
                    program
                        .pipes_to_poll()
                        .map(|(stream, fd)| (Token::Pipe(*number, stream), fd.as_fd(), PollFlags::IN)),
                );
            }
        }
        interests
    }

    /// Returns whether anything of the host may be taken: no program's input and no answer has piled up.
    fn takes_requests(&self) -> bool {
        self.connection.takes_requests() && !self.programs().any(Program::holds_host_up)
    }

    fn programs(&self) -> impl Iterator<Item = &Program> {
        self.channels.values().filter_map(|channel| match channel {
            Channel::Program(program) => Some(&**program),
            Channel::Upload(_) | Channel::Reading(_) | Channel::Writing(_) => None,
        })
    }

    fn timeout(&self) -> Option<Timespec> {
        let has_work = self.may_have_ended
            || (self.connection.has_room()
                && self
                    .channels
                    .values()
                    .any(|channel| matches!(channel, Channel::Reading(_))));
        let left = if has_work {
            Duration::ZERO
        } else {
            let until = self.programs().filter_map(Program::lingers_until).min()?;
            until.saturating_duration_since(now())
        };
        // Never less than what is left, or the loop would spin through the last millisecond.
        Timespec::try_from(left).ok()
    }

    fn handle(&mut self, token: Token, events: PollFlags) -> Result<(), Error> {
        match token {
            Token::Children => {
                let mut events = [0; 512];
                // Which child it was is asked of the kernel; the event only wakes.
                rustix::io::read(&self.child_events, &mut events).ok();
                self.may_have_ended = true;
            }
            Token::Host if events.contains(PollFlags::IN) => self.receive()?,
            Token::Host if events.intersects(PollFlags::HUP | PollFlags::ERR) => self.is_over = true,
            Token::Host => {}
            Token::Stdin(number) => {
                if let Some(Channel::Program(program)) = self.channels.get_mut(&number) {
                    program.write_stdin();
                }
            }
            Token::Pipe(number, stream) => {
                self.read_pipe(number, stream)?;
            }
        }
        Ok(())
    }

    /// Reads once from a program's pipe; returns whether there may be more.
    fn read_pipe(&mut self, number: u32, stream: Stream) -> Result<bool, Error> {
        if !self.connection.has_room() {
            return Ok(false);
        }
        let Some(Channel::Program(program)) = self.channels.get_mut(&number) else {
            return Ok(false);
        };
        let Some(frame) = program.read(stream) else {
            return Ok(false);
        };
        if program.is_beyond_limits() && program.is_running() {
            sys::kill(-program.pid(), libc::SIGKILL);
        }
        if let Some(frame) = frame {
            self.connection.send(number, &frame)?;
        }
        Ok(true)
    }

    fn receive(&mut self) -> Result<(), Error> {
        if !self.connection.receive()? {
            self.is_over = true;
        }
        while let Some((number, frame)) = self.connection.next_frame()? {
            if let Err(refusal) = self.take(number, frame)? {
                self.channels.remove(&number);
                self.connection.send(number, &GuestFrame::Refused(refusal))?;
            }
        }
        Ok(())
    }

    fn reap(&mut self) {
        self.may_have_ended = false;
        for _ in 0..REAPED_MAX {
            let Some(pid) = sys::ended_child() else {
                return;
            };
            let program = self.channels.values().find_map(|channel| match channel {
                Channel::Program(program) if program.pid() == pid && program.is_running() => {
                    Some(program.at_end())
                }
                _ => None,
            });
            // Before the process is forgotten, so that its id still means its group.
            match program {
                Some(AtEnd::KillAll) => self.kill_everything(),
                Some(AtEnd::KillGroup) => sys::kill(-pid, libc::SIGKILL),
                Some(AtEnd::Leave) | None => {}
            }
            if let Some(status) = sys::reap(pid) {
                self.note_end(pid, status);
            }
        }
        self.may_have_ended = true;
    }

    fn note_end(&mut self, pid: i32, status: vulcan_guest_protocol::ExitStatus) {
        for channel in self.channels.values_mut() {
            if let Channel::Program(program) = channel
                && program.pid() == pid
                && program.is_running()
            {
                program.end(status, now());
            }
        }
    }

    fn kill_everything(&self) {
        if self.is_init {
            sys::kill(-1, libc::SIGKILL);
            return;
        }
        for program in self.programs().filter(|program| program.is_running()) {
            sys::kill(-program.pid(), libc::SIGKILL);
        }
    }

    fn pump_files(&mut self) -> Result<(), Error> {
        let mut done = Vec::new();
        for (number, channel) in &mut self.channels {
            if let Channel::Reading(reading) = channel
                && self.connection.has_room()
            {
                let frame = reading.next_frame();
                if !matches!(frame, GuestFrame::FileData(_)) {
                    done.push(*number);
                }
                self.connection.send(*number, &frame)?;
            }
        }
        for number in done {
            self.channels.remove(&number);
        }
        Ok(())
    }

    /// Passes on what ended programs left in their pipes, and says goodbye to those that have no more to say.
    fn finish_programs(&mut self) -> Result<(), Error> {
        let ended: Vec<u32> = self
            .channels
            .iter()
            .filter(|(_, channel)| matches!(channel, Channel::Program(program) if !program.is_running()))
            .map(|(number, _)| *number)
            .collect();
        for number in ended {
            for stream in [Stream::Stdout, Stream::Stderr, Stream::Report] {
                while self.read_pipe(number, stream)? {}
            }
            if let Some(Channel::Program(program)) = self.channels.get(&number)
                && let Some(exited) = program.exited(now())
            {
                self.channels.remove(&number);
                self.connection.send(number, &GuestFrame::Exited(exited))?;
            }
        }
        Ok(())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the agent has no other clock, and only measures how long pipes stay open"
)]
fn now() -> Instant {
    Instant::now()
}
