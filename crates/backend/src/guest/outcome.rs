//! What became of a program, out of what the guest said. Pure.

use std::num::NonZeroU16;

use serde_json::Value;
use tokio::time::Instant;
use vulcan_api::{ErrorCode, Runtime, WorkloadError};
use vulcan_guest_protocol::{
    ExitStatus, GuestError, InvokeMode, ProgramMode, ProtocolError, Refusal, RefusalCode,
};

use crate::{
    BackendError, Invocation, Outcome,
    capture::{self, StdoutCapture},
};

/// The longest message that is taken from a guest.
pub(super) const MESSAGE_BYTES_MAX: usize = 8 * 1024;
/// The longest traceback that is taken from a guest.
const STACK_BYTES_MAX: usize = 64 * 1024;
/// What a shell reports for a file that cannot be executed.
const CANNOT_EXECUTE: i32 = 126;
/// What a shell says of a program that is not there.
const NOT_FOUND: i32 = 127;

/// How a request for a program ended.
#[derive(Debug)]
pub(super) enum Finished {
    /// It ran.
    Exited(Ended),
    /// It never ran.
    Refused(Refusal),
}

/// What was gathered while it ran.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) mode: ProgramMode,
    pub(super) error: Option<GuestError>,
    pub(super) output: Vec<u8>,
    pub(super) stdout: Option<StdoutCapture>,
    pub(super) stderr_tail: Vec<u8>,
    pub(super) started_at: Instant,
    /// How many calls at once what is loaded takes.
    pub(super) reusable: u16,
}

/// Judges a program that ran.
pub(super) fn of_program(ended: Ended, invocation: &Invocation, begun: Instant) -> Outcome {
    let prepared_in = ended.started_at.duration_since(begun);
    let status = ended.status;
    let runtime = invocation.program.runtime;
    let output_bytes_max = invocation.output_bytes_max;
    let failure = match ended.error {
        Some(error) => Some(of_guest_error(error, output_bytes_max)),
        None => capture::exit_error(status).map(|error| explained(error, &ended.stderr_tail, runtime)),
    };
    let result = match ended.mode {
        ProgramMode::Handler if failure.is_some() => Ok(None),
        ProgramMode::Handler => of_handler(&ended.output).map(Some),
        ProgramMode::Script => ended.stdout.map_or(Ok(None), StdoutCapture::finish),
    };
    let (output, error) = match (result, failure) {
        (Ok(output), failure) => (output, failure),
        (Err(error), None) => (None, Some(error)),
        (Err(_), Some(failure)) => (None, Some(failure)),
    };
    let may_stay = matches!(invocation.mode, InvokeMode::Warm | InvokeMode::Forked);
    Outcome {
        reusable: NonZeroU16::new(ended.reusable).filter(|_| may_stay),
        status,
        output,
        error,
        prepared_in,
    }
}

/// Judges a program that was never run.
pub(super) fn of_refusal(
    refusal: Refusal,
    runtime: Runtime,
    begun: Instant,
) -> Result<Outcome, BackendError> {
    let Refusal { code, message } = refusal;
    match code {
        // What an image lacks, it lacks on every node.
        RefusalCode::NotFound if runtime == Runtime::Image => Ok(not_started(NOT_FOUND, message, begun)),
        RefusalCode::NotFound => Err(BackendError::RuntimeUnavailable {
            runtime,
            reason: message,
        }),
        RefusalCode::Busy => Err(BackendError::Refused { code, message }),
        RefusalCode::Invalid | RefusalCode::TooLarge | RefusalCode::Io => {
            Ok(not_started(CANNOT_EXECUTE, message, begun))
        }
    }
}

fn not_started(code: i32, message: String, begun: Instant) -> Outcome {
    Outcome {
        reusable: None,
        status: ExitStatus::Code(code),
        output: None,
        error: Some(WorkloadError::new(ErrorCode::Exception, message)),
        prepared_in: begun.elapsed(),
    }
}

/// A request that the guest did not meet.
pub(super) fn refused(refusal: Refusal) -> BackendError {
    BackendError::Refused {
        code: refusal.code,
        message: refusal.message,
    }
}

/// Tells what an interpreter that was not started ahead means for the instance.
pub(super) fn of_preparing(error: BackendError, runtime: Runtime) -> BackendError {
    match error {
        BackendError::Refused {
            code: RefusalCode::NotFound | RefusalCode::Invalid,
            message: reason,
        } => BackendError::RuntimeUnavailable { runtime, reason },
        BackendError::Refused { message, .. } => BackendError::StartFailed {
            step: format!("start the interpreter of {runtime} ahead: {message}"),
            source: None,
        },
        other => other,
    }
}

/// A request that does not fit into its frame.
pub(super) fn unsendable(error: &ProtocolError) -> BackendError {
    BackendError::Refused {
        code: RefusalCode::TooLarge,
        message: format!("the request does not fit: {error}"),
    }
}

/// Cuts a guest's text, saying so.
pub(super) fn capped(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
        text.push_str(" … (cut)");
    }
    text
}

fn of_guest_error(error: GuestError, output_bytes_max: usize) -> WorkloadError {
    let code = match error.code.as_str() {
        "output_too_large" => return capture::too_large(output_bytes_max),
        "output_invalid" => ErrorCode::OutputInvalid,
        _ => ErrorCode::Exception,
    };
    WorkloadError {
        code,
        message: capped(error.message, MESSAGE_BYTES_MAX),
        stack: error.stack.map(|stack| capped(stack, STACK_BYTES_MAX)),
    }
}

/// Adds what a compiler or a shell had to say, since neither has a shim that would.
fn explained(error: WorkloadError, stderr_tail: &[u8], runtime: Runtime) -> WorkloadError {
    let said = String::from_utf8_lossy(stderr_tail).trim().to_owned();
    match (runtime, error.code) {
        (Runtime::Go, ErrorCode::ExitCode) => WorkloadError {
            code: ErrorCode::CompileFailed,
            message: if said.is_empty() { error.message } else { said },
            stack: None,
        },
        (Runtime::Bash, ErrorCode::ExitCode) if !said.is_empty() => WorkloadError {
            stack: Some(said),
            ..error
        },
        _ => error,
    }
}

fn of_handler(output: &[u8]) -> Result<Value, WorkloadError> {
    if output.is_empty() {
        let message = "the program ended before its handler returned";
        return Err(WorkloadError::new(ErrorCode::Exception, message));
    }
    serde_json::from_slice(output).map_err(|error| {
        let message = format!("the handler's result is not a JSON value that can be read back: {error}");
        WorkloadError::new(ErrorCode::OutputInvalid, message)
    })
}
