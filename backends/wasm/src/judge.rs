//! What became of a program, out of how its call ended. Pure.

use std::time::Duration;

use serde_json::Value;
use vulcan_api::{ErrorCode, WorkloadError};
use vulcan_backend::{BackendError, ExitStatus, Outcome, exit_error};
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::{
    engine::STACK_BYTES,
    wasi::{Exit, OutOfMemory},
};

/// What a program ends with that failed in itself, as interpreters do.
pub(crate) const FAILED: ExitStatus = ExitStatus::Code(1);
/// What a shell reports for a file that cannot be executed.
pub(crate) const CANNOT_EXECUTE: ExitStatus = ExitStatus::Code(126);
/// The longest message that is taken from a guest.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;
/// The longest backtrace; names in it are the guest's.
const STACK_TEXT_BYTES_MAX: usize = 64 * 1024;

/// How a call ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) status: ExitStatus,
    pub(crate) error: Option<WorkloadError>,
}

impl Verdict {
    /// Returns the outcome of a call without a result.
    pub(crate) fn outcome(self, prepared_in: Duration) -> Outcome {
        self.with_output(None, prepared_in)
    }

    /// Returns the outcome of a call. Says nothing of what is loaded.
    pub(crate) fn with_output(self, output: Option<Value>, prepared_in: Duration) -> Outcome {
        Outcome {
            status: self.status,
            output,
            error: self.error,
            prepared_in,
            reusable: None,
        }
    }
}

/// What the memory of an instance has to say to a failure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// Whether more was wanted than there is.
    pub(crate) was_refused: bool,
    pub(crate) mem_mb: u32,
}

impl Memory {
    fn error(self) -> WorkloadError {
        let message = format!(
            "the program needed more memory than its limit of {} MiB (resources.mem_mb)",
            self.mem_mb
        );
        WorkloadError::new(ErrorCode::OutOfMemory, message)
    }
}

/// Judges a call that did not return.
///
/// # Errors
///
/// [`BackendError::Exhausted`] when it never began for want of a slot.
pub(crate) fn of_error(error: &wasmtime::Error, memory: Memory) -> Result<Verdict, BackendError> {
    if error.is::<PoolConcurrencyLimitError>() {
        return Err(BackendError::Exhausted {
            what: "slots for WebAssembly instances",
            source: None,
        });
    }
    let exit = error.downcast_ref::<Exit>().map(|exit| exit.0);
    if let Some(code) = exit.or_else(|| error.downcast_ref::<I32Exit>().map(|exit| exit.0)) {
        return Ok(of_exit(code, memory));
    }
    let stack = error
        .downcast_ref::<WasmBacktrace>()
        .map(|trace| capped(trace.to_string(), STACK_TEXT_BYTES_MAX));
    if memory.was_refused || error.is::<OutOfMemory>() {
        let error = WorkloadError {
            stack,
            ..memory.error()
        };
        return Ok(Verdict {
            status: FAILED,
            error: Some(error),
        });
    }
    let message = match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => {
            format!(
                "wasm trap: the program used up its stack of {} KiB",
                STACK_BYTES / 1024
            )
        }
        Some(trap) => trap.to_string(),
        None => format!("{:#}", error.root_cause()),
    };
    let error = WorkloadError {
        code: ErrorCode::Exception,
        message: capped(message, MESSAGE_BYTES_MAX),
        stack,
    };
    Ok(Verdict {
        status: FAILED,
        error: Some(error),
    })
}

/// Judges a program that ended itself.
pub(crate) fn of_exit(code: i32, memory: Memory) -> Verdict {
    let status = ExitStatus::Code(code);
    let error = exit_error(status).map(|error| if memory.was_refused { memory.error() } else { error });
    Verdict { status, error }
}

/// Reads what a handler returned.
///
/// # Errors
///
/// [`ErrorCode::OutputInvalid`].
pub(crate) fn of_output(text: &[u8]) -> Result<Value, WorkloadError> {
    serde_json::from_slice(text).map_err(|error| {
        let message = format!("the handler's result is not a JSON value that can be read back: {error}");
        WorkloadError::new(ErrorCode::OutputInvalid, message)
    })
}

/// The error of a handler's result that is too long.
pub(crate) fn too_large(bytes_max: usize) -> WorkloadError {
    let message = format!("the output is larger than the {bytes_max} bytes that are allowed");
    WorkloadError::new(ErrorCode::OutputTooLarge, message)
}

/// An error in the program's own words, or about them.
pub(crate) fn exception(message: impl Into<String>) -> WorkloadError {
    WorkloadError::new(ErrorCode::Exception, capped(message.into(), MESSAGE_BYTES_MAX))
}

fn capped(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
        text.push_str(" … (cut)");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENOUGH: Memory = Memory {
        was_refused: false,
        mem_mb: 64,
    };
    const REFUSED: Memory = Memory {
        was_refused: true,
        mem_mb: 64,
    };

    fn code(verdict: Result<Verdict, BackendError>) -> Option<ErrorCode> {
        verdict.unwrap().error.map(|error| error.code)
    }

    #[test]
    fn an_exit_is_the_programs_own_word() {
        assert_eq!(of_exit(0, REFUSED).error, None);
        assert_eq!(code(Ok(of_exit(3, ENOUGH))), Some(ErrorCode::ExitCode));
        assert_eq!(code(of_error(&Exit(3).into(), ENOUGH)), Some(ErrorCode::ExitCode));
        assert_eq!(
            code(of_error(&I32Exit(3).into(), ENOUGH)),
            Some(ErrorCode::ExitCode)
        );
    }

    #[test]
    fn whoever_fails_after_memory_was_refused_failed_because_of_it() {
        for error in [Exit(1).into(), Trap::UnreachableCodeReached.into()] {
            assert_eq!(code(of_error(&error, REFUSED)), Some(ErrorCode::OutOfMemory));
        }
        assert_eq!(
            code(of_error(&OutOfMemory.into(), ENOUGH)),
            Some(ErrorCode::OutOfMemory)
        );
    }

    #[test]
    fn a_trap_says_what_it_was() {
        let message = |trap: Trap| of_error(&trap.into(), ENOUGH).unwrap().error.unwrap().message;
        assert_eq!(
            message(Trap::StackOverflow),
            "wasm trap: the program used up its stack of 512 KiB"
        );
        assert_eq!(
            message(Trap::IntegerDivisionByZero),
            "wasm trap: integer divide by zero"
        );
    }

    #[test]
    fn what_is_no_json_is_no_output() {
        for text in ["", "NaN", "\"\\ud800\"", "1 2", "1e999"] {
            assert_eq!(
                of_output(text.as_bytes()).unwrap_err().code,
                ErrorCode::OutputInvalid,
                "{text}"
            );
        }
    }
}
