//! What a simulated instance keeps loaded, and which calls it takes.
//!
//! It insists on what callers promise: one program, one mode, and no more calls at once than were allowed.

use std::{
    num::NonZeroU16,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use vulcan_api::Program;
use vulcan_guest_protocol::{InvokeMode, RefusalCode};

use crate::{BackendError, Invocation};

/// A number that a program counts up. Clones are the same number.
#[derive(Debug, Clone, Default)]
pub(super) struct Counter(Arc<AtomicU64>);

impl Counter {
    pub(super) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Returns another number of the same value.
    fn fork(&self) -> Self {
        Self(Arc::new(AtomicU64::new(self.0.load(Ordering::SeqCst))))
    }
}

/// Which lines of a program a call runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All.
    Whole,
    /// All, and those behind `handler` stay.
    Load,
    /// Those behind `handler`.
    Call,
}

/// What an instance keeps.
#[derive(Debug, Default)]
pub(super) struct Memory {
    state: State,
    counter: Counter,
    running: u16,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Nothing,
    Loading(Box<Promise>),
    Loaded {
        promise: Box<Promise>,
        at_once: NonZeroU16,
    },
}

/// What all calls have in common.
#[derive(Debug, PartialEq)]
struct Promise {
    program: Program,
    mode: InvokeMode,
}

impl Promise {
    fn of(invocation: &Invocation) -> Self {
        Self {
            program: Program {
                input: Bytes::new(),
                ..invocation.program.clone()
            },
            mode: invocation.mode,
        }
    }
}

impl Memory {
    /// Begins a call.
    pub(super) fn begin(&mut self, invocation: &Invocation) -> Result<Part, BackendError> {
        let part = match (&self.state, invocation.mode) {
            (State::Nothing, InvokeMode::Once | InvokeMode::Beside) => return Ok(Part::Whole),
            (State::Nothing, InvokeMode::Warm | InvokeMode::Forked) => {
                self.state = State::Loading(Box::new(Promise::of(invocation)));
                Part::Load
            }
            (State::Loading(_), _) => return Err(refused(RefusalCode::Busy, "the handler is being loaded")),
            (State::Loaded { promise, at_once }, _) => {
                if **promise != Promise::of(invocation) {
                    let message = "another program or mode than the one that is loaded";
                    return Err(refused(RefusalCode::Invalid, message));
                }
                if self.running >= at_once.get() {
                    let message = "more calls at once than the handler takes";
                    return Err(refused(RefusalCode::Busy, message));
                }
                Part::Call
            }
        };
        self.running += 1;
        Ok(part)
    }

    /// Returns the number that a call of this mode counts up.
    pub(super) fn counter(&self, mode: InvokeMode) -> Counter {
        match mode {
            InvokeMode::Warm => self.counter.clone(),
            InvokeMode::Once | InvokeMode::Beside | InvokeMode::Forked => self.counter.fork(),
        }
    }

    /// Returns the number that is counted up while a program is loaded.
    pub(super) fn counter_of_load(&self) -> Counter {
        self.counter.clone()
    }

    /// Ends a call that `begin` did not refuse.
    pub(super) fn end(&mut self, part: Part, reusable: Option<NonZeroU16>) {
        if part == Part::Whole {
            return;
        }
        self.running -= 1;
        let Some(at_once) = reusable else {
            self.state = State::Nothing;
            self.counter = Counter::default();
            return;
        };
        self.state = match std::mem::take(&mut self.state) {
            State::Loading(promise) => State::Loaded { promise, at_once },
            other => other,
        };
    }
}

fn refused(code: RefusalCode, message: &str) -> BackendError {
    BackendError::Refused {
        code,
        message: message.to_owned(),
    }
}
