//! Interpreters that wait for code, and handlers that wait for calls.
//!
//! ```text
//!            ┌── Prepare ──▶ preparing ──ready──▶ blank ──┐
//! nothing ───┤                                            ├─ Invoke ──▶ a program of its channel
//!    ▲       └────────────────────────────────────────────┘      │  ▲
//!    └── it ends ── loaded ◀──── call over, the handler stays ───┘  └─ Invoke of what is loaded
//! ```
//!
//! There is at most one. Nothing is read of it between calls: what it writes waits in its pipes for the next one.

use std::os::fd::OwnedFd;

use vulcan_guest_protocol::{
    ExitStatus, GuestFrame, GuestRuntime, Invoke, InvokeMode, Prepare, Refusal, RefusalCode,
};

use crate::{
    agent::{Agent, Channel},
    connection::Error,
    job,
    limits::UPLOAD_BYTES_MAX,
    process,
    program::{AtEnd, Program, Stream, Terms},
    refusal,
    runtime::{self, Engine},
    sys,
};

/// What waits.
#[derive(Debug)]
pub(crate) struct Resident {
    program: Box<Program>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The host waits on this channel until it is ready.
    Preparing(Engine, u32),
    /// It is ready for code.
    Blank(Engine),
    /// Its handler is ready for calls.
    Loaded(InvokeMode),
}

impl Resident {
    pub(crate) const fn pid(&self) -> i32 {
        self.program.pid()
    }

    /// Returns what is to die with it.
    pub(crate) const fn at_end(&self) -> AtEnd {
        self.program.at_end()
    }

    /// Returns the channel on which the host waits for it.
    pub(crate) const fn channel(&self) -> Option<u32> {
        match self.state {
            State::Preparing(_, channel) => Some(channel),
            State::Blank(_) | State::Loaded(_) => None,
        }
    }

    /// Returns what to listen to until it is ready.
    pub(crate) fn words_to_poll(&self) -> Option<&OwnedFd> {
        self.channel()?;
        self.program
            .pipes_to_poll()
            .find_map(|(stream, fd)| (stream == Stream::Words).then_some(fd))
    }

    fn kill(&self) {
        sys::kill(-self.program.pid(), libc::SIGKILL);
    }
}

impl Agent {
    /// Starts an interpreter ahead of the code.
    pub(crate) fn prepare(&mut self, number: u32, prepare: &Prepare) -> Result<Result<(), Refusal>, Error> {
        let Some(engine) = Engine::of(prepare.runtime) else {
            return Ok(Err(nothing_ahead(prepare.runtime)));
        };
        match self.resident.as_ref().map(|resident| resident.state) {
            Some(State::Blank(ready)) if ready == engine => {
                self.connection.send(number, &GuestFrame::Done)?;
                return Ok(Ok(()));
            }
            Some(State::Preparing(..)) => {
                return Ok(Err(refusal::busy("another interpreter is being started ahead")));
            }
            Some(State::Loaded(_)) => return Ok(Err(refusal::busy("a handler is loaded already"))),
            Some(State::Blank(_)) | None => {}
        }
        self.drop_blank();
        if let Err(refusal) = self.places.make_ready() {
            return Ok(Err(refusal));
        }
        let env = process::environment(&self.places, std::collections::BTreeMap::new());
        let started = engine
            .resident(&self.places, env)
            .and_then(|command| start(&command));
        match started {
            Ok(program) => {
                self.resident = Some(Resident {
                    program: Box::new(program),
                    state: State::Preparing(engine, number),
                });
                Ok(Ok(()))
            }
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// Listens to an interpreter that is being started.
    pub(crate) fn hear_resident(&mut self) -> Result<(), Error> {
        let Some(resident) = &mut self.resident else {
            return Ok(());
        };
        let State::Preparing(engine, number) = resident.state else {
            return Ok(());
        };
        resident.program.read(Stream::Words);
        if resident.program.is_ready() {
            resident.state = State::Blank(engine);
            self.connection.send(number, &GuestFrame::Done)?;
        } else if resident.program.is_beyond_limits() {
            resident.kill();
        }
        Ok(())
    }

    /// Notes that what waited has ended.
    pub(crate) fn resident_ended(&mut self, pid: i32, status: ExitStatus) -> Result<(), Error> {
        let Some(resident) = self.resident.take_if(|resident| resident.pid() == pid) else {
            return Ok(());
        };
        match resident.state {
            State::Preparing(_, number) => {
                let message = format!("the interpreter ended before it was ready: {status:?}");
                let code = RefusalCode::Io;
                self.connection
                    .send(number, &GuestFrame::Refused(Refusal { code, message }))?;
            }
            // The next program starts its own.
            State::Blank(_) => {}
            // Nothing can be called here any more, and the host shall see that before it tries.
            State::Loaded(_) => self.is_forsaken = true,
        }
        Ok(())
    }

    /// Runs code that is in place in an interpreter that waits, or in one that shall stay; gives the request back where a
    /// program of its own is to run it.
    pub(crate) fn invoke_resident(
        &mut self,
        number: u32,
        invoke: Invoke,
        input: &[u8],
    ) -> Result<Option<Invoke>, Refusal> {
        let Some(engine) = Engine::of(invoke.runtime) else {
            return Ok(Some(invoke));
        };
        let stays = match (invoke.mode, engine) {
            (InvokeMode::Beside, _) => return Ok(Some(invoke)),
            (InvokeMode::Once, _) | (InvokeMode::Forked, Engine::Node) => None,
            (InvokeMode::Warm, _) | (InvokeMode::Forked, Engine::Python) => Some(invoke.mode),
        };
        if stays.is_some() && self.has_handler() {
            return Err(refusal::busy("a handler is loaded already"));
        }
        let env = process::environment(&self.places, invoke.env.clone());
        runtime::refuse_nul(&invoke.args, &env)?;
        let arguments = runtime::shim_arguments(&invoke, &self.places)?;
        let mut program = match self.take_blank(engine, &invoke) {
            Some(program) => program,
            None if stays.is_none() => return Ok(Some(invoke)),
            None => Box::new(start(&engine.resident(&self.places, env.clone())?)?),
        };
        let terms = Terms {
            input_bytes: Some(invoke.input_bytes),
            output_bytes_max: invoke.output_bytes_max,
            at_end: AtEnd::KillAll,
            stays,
        };
        let mode = stays.unwrap_or(InvokeMode::Once);
        program.begin(&job::first(mode, &arguments, &invoke.args, &env), terms);
        program.take_input(input);
        self.channels.insert(number, Channel::Program(program));
        Ok(None)
    }

    /// Calls the handler that is loaded.
    pub(crate) fn call(&mut self, number: u32, invoke: &Invoke) -> Result<(), Refusal> {
        if invoke.input_bytes > UPLOAD_BYTES_MAX {
            let message = format!(
                "{} bytes of input are more than {UPLOAD_BYTES_MAX}",
                invoke.input_bytes
            );
            return Err(refusal::too_large(message));
        }
        if self.programs().any(|program| program.stays().is_some()) {
            return Err(refusal::busy("the loaded handler takes one call at a time"));
        }
        let is_meant = |resident: &mut Resident| resident.state == State::Loaded(invoke.mode);
        let Some(resident) = self.resident.take_if(is_meant) else {
            return Err(refusal::invalid("no handler is loaded in this mode"));
        };
        let mut program = resident.program;
        let terms = Terms {
            input_bytes: Some(invoke.input_bytes),
            output_bytes_max: invoke.output_bytes_max,
            at_end: AtEnd::KillAll,
            stays: Some(invoke.mode),
        };
        program.begin_call(&job::later(invoke), terms);
        if invoke.input_bytes == 0 {
            program.write();
        }
        self.channels.insert(number, Channel::Program(program));
        Ok(())
    }

    /// Keeps a program whose call is over.
    pub(crate) fn keep(&mut self, program: Box<Program>) {
        if let Some(mode) = program.stays() {
            self.resident = Some(Resident {
                program,
                state: State::Loaded(mode),
            });
        }
    }

    /// Takes the interpreter that waits, if it can be what the program asks for; one that cannot goes.
    fn take_blank(&mut self, engine: Engine, invoke: &Invoke) -> Option<Box<Program>> {
        let started = process::environment(&self.places, std::collections::BTreeMap::new());
        let is_fit = |resident: &mut Resident| {
            resident.state == State::Blank(engine)
                && !job::needs_fresh(&invoke.env, &started)
                && !sys::has_ended(resident.pid())
        };
        let taken = self.resident.take_if(is_fit).map(|resident| resident.program);
        if taken.is_none() {
            self.drop_blank();
        }
        taken
    }

    /// Ends an interpreter that waits for code; the next program starts its own.
    pub(crate) fn drop_blank(&mut self) {
        let is_blank = |resident: &mut Resident| matches!(resident.state, State::Blank(_));
        if let Some(resident) = self.resident.take_if(is_blank) {
            resident.kill();
        }
    }

    fn has_handler(&self) -> bool {
        let is_loaded = |resident: &Resident| matches!(resident.state, State::Loaded(_));
        self.resident.as_ref().is_some_and(is_loaded)
            || self.programs().any(|program| program.stays().is_some())
    }
}

fn start(command: &process::Command) -> Result<Program, Refusal> {
    process::start(command)
        .and_then(Program::resident)
        .map_err(|error| {
            let program = command.argv.first().map_or("", String::as_str);
            refusal::io(format_args!("start {program}"), &error)
        })
}

fn nothing_ahead(runtime: GuestRuntime) -> Refusal {
    refusal::invalid(format!("this guest starts no interpreter ahead for {runtime:?}"))
}
