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
    devices, family,
    files::{Reading, Writing},
    limits::REAPED_MAX,
    places::Places,
    program::{AtEnd, Program, Stream},
    resident::Resident,
    sys,
    upload::Upload,
};

/// The descriptor of the protocol's stream.
const STREAM: i32 = 3;

/// Serves the host until it goes away or says so; then nothing else lives in the guest.
pub(crate) fn run(places: Places) -> Result<(), Error> {
    // Programs have the agent's user id: they must not trace it, nor read its memory or its files.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(std::io::Error::from)?;
    if places.code.is_some() {
        // Whoever started a container's first process gave it streams of the host.
        sys::silence_streams()?;
        devices::remove_needless();
    }
    let connection = Connection::new(sys::take_stream(STREAM)?)?;
    let mut agent = Agent {
        connection,
        child_events: sys::child_events()?,
        channels: BTreeMap::new(),
        resident: None,
        places,
        is_forsaken: false,
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
    /// What waits for code or for calls.
    pub(crate) resident: Option<Resident>,
    pub(crate) places: Places,
    /// The handler that was loaded is gone: once everything was said, the guest is over.
    pub(crate) is_forsaken: bool,
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
    Feed(u32),
    Pipe(u32, Stream),
    Resident,
}

impl Agent {
    fn serve(&mut self) -> Result<(), Error> {
        while !self.is_over {
            for (token, events) in self.wait()? {
                self.handle(token, events)?;
            }
            if self.may_have_ended {
                self.reap()?;
            }
            self.pump_files()?;
            self.finish_programs()?;
            let is_there = self.connection.flush()?;
            let is_done = self.is_forsaken && self.channels.is_empty() && !self.connection.has_waiting();
            self.is_over |= !is_there || is_done;
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
        let words = self.resident.as_ref().and_then(Resident::words_to_poll);
        interests.extend(words.map(|words| (Token::Resident, words.as_fd(), PollFlags::IN)));
        let has_room = self.connection.has_room();
        for (number, channel) in &self.channels {
            let Channel::Program(program) = channel else {
                continue;
            };
            interests.extend(
                program
                    .feeds_to_poll()
                    .map(|feed| (Token::Feed(*number), feed.as_fd(), PollFlags::OUT)),
            );
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

    pub(crate) fn programs(&self) -> impl Iterator<Item = &Program> {
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
            Token::Feed(number) => {
                if let Some(Channel::Program(program)) = self.channels.get_mut(&number) {
                    program.write();
                }
            }
            Token::Resident => self.hear_resident()?,
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
            self.announce(number)?;
            self.connection.send(number, &frame)?;
        }
        Ok(true)
    }

    /// Tells the host that a program runs, once. Of a later call it hears with the first thing that there is to say, since
    /// nobody waits for it.
    pub(crate) fn announce(&mut self, number: u32) -> Result<(), Error> {
        if let Some(Channel::Program(program)) = self.channels.get_mut(&number)
            && program.announce()
        {
            self.connection.send(number, &GuestFrame::Started)?;
        }
        Ok(())
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

    fn reap(&mut self) -> Result<(), Error> {
        self.may_have_ended = false;
        for _ in 0..REAPED_MAX {
            let Some(pid) = sys::ended_child() else {
                return Ok(());
            };
            let program = self.channels.values().find_map(|channel| match channel {
                Channel::Program(program) if program.pid() == pid && program.is_running() => {
                    Some(program.at_end())
                }
                _ => None,
            });
            let resident = self.resident.as_ref().filter(|resident| resident.pid() == pid);
            let program = program.or_else(|| resident.map(Resident::at_end));
            // Before the process is forgotten, so that its id still means its group.
            match program {
                Some(AtEnd::KillAll) => self.kill_everything(),
                Some(AtEnd::KillGroup) => sys::kill(-pid, libc::SIGKILL),
                Some(AtEnd::Leave) | None => {}
            }
            if let Some(status) = sys::reap(pid) {
                self.note_end(pid, status);
                self.resident_ended(pid, status)?;
            }
        }
        self.may_have_ended = true;
        Ok(())
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

    fn kill_everything(&mut self) {
        self.drop_blank();
        if self.is_init {
            sys::kill(-1, libc::SIGKILL);
            return;
        }
        let running = self.programs().filter(|program| program.is_running());
        for pid in running
            .map(Program::pid)
            .chain(self.resident.as_ref().map(Resident::pid))
        {
            for child in family::children_of(pid) {
                sys::kill(-child, libc::SIGKILL);
            }
            sys::kill(-pid, libc::SIGKILL);
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

    /// Passes on what ended programs and calls left in their pipes, and says goodbye to those that have no more to say.
    fn finish_programs(&mut self) -> Result<(), Error> {
        let draining: Vec<u32> = self
            .channels
            .iter()
            .filter(|(_, channel)| matches!(channel, Channel::Program(program) if program.is_draining()))
            .map(|(number, _)| *number)
            .collect();
        for number in draining {
            for stream in [Stream::Stdout, Stream::Stderr, Stream::Report, Stream::Words] {
                while self.read_pipe(number, stream)? {}
            }
            let Some(Channel::Program(program)) = self.channels.get(&number) else {
                continue;
            };
            let Some(exited) = program.exited(now()) else {
                continue;
            };
            self.announce(number)?;
            let is_reusable = exited.reusable > 0;
            self.connection.send(number, &GuestFrame::Exited(exited))?;
            if let Some(Channel::Program(program)) = self.channels.remove(&number)
                && is_reusable
            {
                self.keep(program);
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
