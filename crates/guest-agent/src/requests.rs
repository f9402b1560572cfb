//! What the host asks: every frame of it, and what it brings about.

use vulcan_guest_protocol::{
    CodeForm, Exec, GuestFrame, HostFrame, Invoke, InvokeMode, Refusal, RefusalCode, Welcome, negotiate,
};

use crate::{
    agent::{Agent, Channel},
    connection::Error,
    family,
    files::{Reading, Writing},
    identity,
    limits::CHANNELS_MAX,
    process::{self, Command, Shim},
    program::{AtEnd, Program, Terms},
    refusal,
    resident::Resident,
    runtime, sys,
    upload::Upload,
};

impl Agent {
    /// Takes a frame. The inner error ends the channel, the outer one the agent.
    pub(crate) fn take(&mut self, number: u32, frame: HostFrame) -> Result<Result<(), Refusal>, Error> {
        if !self.is_welcome {
            return self.greet(&frame).map(Ok);
        }
        let result = match frame {
            // A host that greets twice changes nothing.
            HostFrame::Hello(_) => Ok(()),
            HostFrame::Shutdown => {
                self.is_over = true;
                Ok(())
            }
            HostFrame::Data(data) => return self.data(number, &data),
            HostFrame::DataEnd => {
                if let Some(Channel::Program(program)) = self.channels.get_mut(&number) {
                    program.end_input();
                }
                Ok(())
            }
            HostFrame::Signal(request) => {
                self.signal(number, request.signal);
                Ok(())
            }
            HostFrame::Prepare(_)
            | HostFrame::Invoke(_)
            | HostFrame::Exec(_)
            | HostFrame::ReadFile(_)
            | HostFrame::WriteFile(_) => {
                return self.open(number, frame);
            }
        };
        Ok(result)
    }

    fn greet(&mut self, frame: &HostFrame) -> Result<(), Error> {
        let HostFrame::Hello(hello) = frame else {
            return Err(Error::NoHello);
        };
        let welcome = Welcome {
            generation: negotiate(hello)?,
            agent: env!("CARGO_PKG_VERSION").to_owned(),
        };
        self.is_welcome = true;
        self.connection.send(0, &GuestFrame::Welcome(welcome))
    }

    fn open(&mut self, number: u32, frame: HostFrame) -> Result<Result<(), Refusal>, Error> {
        let is_awaited = self.resident.as_ref().and_then(Resident::channel) == Some(number);
        if is_awaited || self.channels.contains_key(&number) {
            return Ok(Err(refusal::invalid(format!("channel {number} is in use"))));
        }
        if self.channels.len() >= CHANNELS_MAX {
            let message = format!("there are {CHANNELS_MAX} open requests already");
            return Ok(Err(refusal::busy(message)));
        }
        let channel = match frame {
            HostFrame::Invoke(invoke) if invoke.code_form == CodeForm::Loaded => {
                return Ok(self.call(number, &invoke));
            }
            HostFrame::Invoke(invoke) => return self.invoke(number, invoke),
            HostFrame::Prepare(request) => return self.prepare(number, &request),
            HostFrame::Exec(exec) => return self.exec(number, exec),
            HostFrame::ReadFile(request) => Reading::open(request).map(Channel::Reading),
            HostFrame::WriteFile(request) => Writing::open(request, &self.places).map(Channel::Writing),
            HostFrame::Hello(_)
            | HostFrame::Data(_)
            | HostFrame::DataEnd
            | HostFrame::Signal(_)
            | HostFrame::Shutdown => return Ok(Ok(())),
        };
        match channel {
            Ok(channel) => {
                self.channels.insert(number, channel);
                // An empty file is complete already.
                self.data(number, &[])
            }
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    fn invoke(&mut self, number: u32, invoke: Invoke) -> Result<Result<(), Refusal>, Error> {
        let opened = if invoke.code_form == CodeForm::Command {
            Upload::open(invoke, &self.places)
        } else {
            self.places
                .make_ready()
                .and_then(|()| self.as_code(|| Upload::open(invoke, &self.places)))
        };
        match opened {
            Ok(upload) => {
                self.channels.insert(number, Channel::Upload(upload));
                self.data(number, &[])
            }
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    fn data(&mut self, number: u32, data: &[u8]) -> Result<Result<(), Refusal>, Error> {
        match self.channels.get_mut(&number) {
            Some(Channel::Program(program)) => program.take_input(data),
            Some(Channel::Writing(writing)) => {
                if let Err(refusal) = writing.take(data) {
                    return Ok(Err(refusal));
                }
                if writing.is_complete() {
                    self.channels.remove(&number);
                    self.connection.send(number, &GuestFrame::Done)?;
                }
            }
            Some(Channel::Upload(upload)) => match upload.take(data) {
                // A file is open already, with the rights of whom it is for.
                Ok(input) if upload.is_complete() => return self.start_uploaded(number, input),
                Ok(_) => {}
                Err(refusal) => return Ok(Err(refusal)),
            },
            // The rest of a request that was refused, or is over.
            Some(Channel::Reading(_)) | None => {}
        }
        Ok(Ok(()))
    }

    fn start_uploaded(&mut self, number: u32, input: &[u8]) -> Result<Result<(), Refusal>, Error> {
        let Some(Channel::Upload(upload)) = self.channels.remove(&number) else {
            return Ok(Ok(()));
        };
        let prepared = self
            .as_code(|| upload.finish(&self.places))
            .and_then(|invoke| self.invoke_resident(number, invoke, input))
            .and_then(|left| {
                left.map(|invoke| Ok((runtime::command(&invoke, &self.places)?, invoke)))
                    .transpose()
            });
        let (command, invoke) = match prepared {
            Ok(Some(prepared)) => prepared,
            Ok(None) => {
                self.announce(number)?;
                return Ok(Ok(()));
            }
            Err(refusal) => return Ok(Err(refusal)),
        };
        let terms = Terms {
            input_bytes: Some(invoke.input_bytes),
            output_bytes_max: invoke.output_bytes_max,
            at_end: if invoke.mode == InvokeMode::Beside {
                AtEnd::KillGroup
            } else {
                AtEnd::KillAll
            },
            stays: None,
        };
        self.start(number, &command, terms, input)
    }

    /// Does something with the file rights of code.
    fn as_code<T>(&self, act: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
        identity::with_rights_of(self.places.code.as_ref(), act)
            .map_err(|error| refusal::io("take the rights of the code's user", &error))?
    }

    fn exec(&mut self, number: u32, exec: Exec) -> Result<Result<(), Refusal>, Error> {
        let identity = match runtime::identity_of(&exec.user, &self.places, false) {
            Ok(identity) => identity,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut env = exec.env;
        if let Some(identity) = identity.as_ref().filter(|_| !exec.user.is_empty()) {
            env.entry("HOME".to_owned())
                .or_insert_with(|| identity.home.clone());
        }
        let env = process::environment(&self.places, env);
        let mut argv = exec.argv;
        let Some(program) = argv.first_mut() else {
            return Ok(Err(refusal::invalid("a command needs a program")));
        };
        match runtime::look_up(program, env.get("PATH").map(String::as_str)) {
            Some(path) => *program = path,
            None => {
                return Ok(Err(refusal::not_found(format!(
                    "no program '{program}' was found"
                ))));
            }
        }
        let command = Command {
            argv,
            env,
            cwd: exec.cwd.into(),
            shim: Shim::None,
            identity,
        };
        let terms = Terms {
            input_bytes: None,
            output_bytes_max: 0,
            at_end: AtEnd::Leave,
            stays: None,
        };
        self.start(number, &command, terms, &[])
    }

    fn start(
        &mut self,
        number: u32,
        command: &Command,
        terms: Terms,
        input: &[u8],
    ) -> Result<Result<(), Refusal>, Error> {
        let started = process::start(command).and_then(|child| Program::new(child, terms));
        let mut program = match started {
            Ok(program) => program,
            Err(error) => {
                let program = command.argv.first().map_or("", String::as_str);
                let mut refusal = refusal::io(format_args!("start {program}"), &error);
                if error.raw_os_error() == Some(libc::ENOEXEC) {
                    refusal.code = RefusalCode::Invalid;
                }
                return Ok(Err(refusal));
            }
        };
        program.take_input(input);
        self.channels.insert(number, Channel::Program(Box::new(program)));
        self.announce(number)?;
        Ok(Ok(()))
    }

    /// Passes a signal on to a program. Of a forked call, to the fork: the process that it was made from serves the next.
    fn signal(&self, number: u32, signal: u8) {
        let Some(Channel::Program(program)) = self.channels.get(&number) else {
            return;
        };
        if program.is_draining() || !(1..=64).contains(&signal) {
            return;
        }
        if program.stays() != Some(InvokeMode::Forked) {
            sys::kill(-program.pid(), signal.into());
            return;
        }
        for child in family::children_of(program.pid()) {
            sys::kill(-child, signal.into());
        }
    }
}
