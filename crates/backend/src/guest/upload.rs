//! What is sent for a request: its frames, with bulk bytes as slices of what the caller gave.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use vulcan_api::{Code, Runtime};
use vulcan_guest_protocol::{
    CodeForm, Command, DATA_BYTES_MAX, Direction, Exec, GuestRuntime, HEADER_BYTES, HostFrame, Invoke,
    Prepare, ProtocolError, ReadFile, WriteFile,
};

use crate::{ExecRequest, Invocation};

/// Below this, copying costs less than one more piece in a vectored write.
const COPY_BYTES_MAX: usize = 16 * 1024;

/// A whole request, to be written without anything in between.
pub(super) type Message = VecDeque<Bytes>;

pub(super) fn frame(channel: u32, frame: &HostFrame) -> Result<Message, ProtocolError> {
    let mut bytes = Vec::new();
    frame.encode(channel, &mut bytes)?;
    Ok(Message::from([Bytes::from(bytes)]))
}

pub(super) fn invoke(channel: u32, invocation: &Invocation) -> Result<Message, ProtocolError> {
    let program = &invocation.program;
    let (code, input) = (program.code.bytes(), &program.input);
    let request = HostFrame::Invoke(Invoke {
        code_form: match program.code {
            Code::File { .. } => CodeForm::File,
            Code::Archive { .. } => CodeForm::Archive,
            Code::Image(_) => CodeForm::Command,
        },
        command: match &program.code {
            Code::Image(program) => Some(Command {
                argv: program.argv.clone(),
                cwd: program.working_dir.clone(),
                user: program.user.clone(),
            }),
            Code::File { .. } | Code::Archive { .. } => None,
        },
        entrypoint: program.code.entrypoint().to_owned(),
        code_bytes: code.len() as u64,
        args: program.args.clone(),
        env: program.env.clone(),
        ..request_of_call(invocation)
    });
    let mut parts = Parts::new(channel);
    parts.frame(&request)?;
    parts.data(code)?;
    parts.data(input)?;
    Ok(parts.finish())
}

/// A call of what is loaded: what differs from the call before, in one piece where the input is small.
pub(super) fn call(channel: u32, invocation: &Invocation) -> Result<Message, ProtocolError> {
    let mut parts = Parts::new(channel);
    parts.frame(&HostFrame::Invoke(request_of_call(invocation)))?;
    parts.data(&invocation.program.input)?;
    Ok(parts.finish())
}

fn request_of_call(invocation: &Invocation) -> Invoke {
    Invoke {
        workload: invocation.workload.to_string(),
        runtime: guest_runtime(invocation.program.runtime),
        code_form: CodeForm::Loaded,
        entrypoint: String::new(),
        code_bytes: 0,
        input_bytes: invocation.program.input.len() as u64,
        args: Vec::new(),
        env: BTreeMap::new(),
        output_bytes_max: invocation.output_bytes_max as u64,
        timeout_ms: u64::try_from(invocation.timeout.as_millis()).unwrap_or(u64::MAX),
        mode: invocation.mode,
        command: None,
    }
}

pub(super) fn prepare(channel: u32, runtime: Runtime) -> Result<Message, ProtocolError> {
    let runtime = guest_runtime(runtime);
    frame(channel, &HostFrame::Prepare(Prepare { runtime }))
}

pub(super) fn exec(channel: u32, request: ExecRequest) -> Result<Message, ProtocolError> {
    let mut parts = Parts::new(channel);
    parts.frame(&HostFrame::Exec(Exec {
        argv: request.argv,
        env: request.env,
        cwd: request.cwd,
        user: request.user,
    }))?;
    parts.data(&request.stdin)?;
    parts.frame(&HostFrame::DataEnd)?;
    Ok(parts.finish())
}

pub(super) fn read_file(channel: u32, path: &str, bytes_max: usize) -> Result<Message, ProtocolError> {
    let request = HostFrame::ReadFile(ReadFile {
        path: path.to_owned(),
        bytes_max: bytes_max as u64,
    });
    frame(channel, &request)
}

pub(super) fn write_file(
    channel: u32,
    path: &str,
    mode: u32,
    bytes: &Bytes,
) -> Result<Message, ProtocolError> {
    let mut parts = Parts::new(channel);
    parts.frame(&HostFrame::WriteFile(WriteFile {
        path: path.to_owned(),
        mode,
        bytes: bytes.len() as u64,
    }))?;
    parts.data(bytes)?;
    Ok(parts.finish())
}

const fn guest_runtime(runtime: Runtime) -> GuestRuntime {
    match runtime {
        Runtime::Python => GuestRuntime::Python,
        Runtime::Node => GuestRuntime::Node,
        Runtime::Typescript => GuestRuntime::Typescript,
        Runtime::Bash => GuestRuntime::Bash,
        Runtime::Go => GuestRuntime::GoBuild,
        Runtime::Binary | Runtime::Wasm => GuestRuntime::Binary,
        Runtime::Image => GuestRuntime::Command,
    }
}

/// Gathers the frames of one channel.
struct Parts {
    channel: u32,
    whole: Message,
    open: Vec<u8>,
}

impl Parts {
    fn new(channel: u32) -> Self {
        Self {
            channel,
            whole: Message::new(),
            open: Vec::new(),
        }
    }

    fn frame(&mut self, frame: &HostFrame) -> Result<(), ProtocolError> {
        frame.encode(self.channel, &mut self.open)
    }

    fn data(&mut self, bytes: &Bytes) -> Result<(), ProtocolError> {
        let mut rest = bytes.clone();
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(DATA_BYTES_MAX));
            let header: [u8; HEADER_BYTES] = HostFrame::data_header(self.channel, piece.len())?;
            self.open.extend_from_slice(&header);
            if piece.len() <= COPY_BYTES_MAX {
                self.open.extend_from_slice(&piece);
            } else {
                self.close_open();
                self.whole.push_back(piece);
            }
        }
        Ok(())
    }

    fn close_open(&mut self) {
        if !self.open.is_empty() {
            self.whole.push_back(std::mem::take(&mut self.open).into());
        }
    }

    fn finish(mut self) -> Message {
        self.close_open();
        self.whole
    }
}
