//! What the client remembers of a guest's loaded handler. Pure.
//!
//! ```text
//! nothing ──first warm or forked call──▶ loading ──reusable──▶ loaded ──not reusable──▶ nothing
//!    ▲                                      │
//!    └──────────── not reusable ────────────┘
//! ```

use std::sync::{Mutex, MutexGuard, PoisonError};

use vulcan_guest_protocol::{InvokeMode, RefusalCode};

use crate::BackendError;

/// Whether a handler is loaded.
#[derive(Debug, Default)]
pub(super) struct Loading(Mutex<State>);

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Nothing,
    Loading,
    Loaded,
}

/// What a call has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Bring code that is over with the call.
    Run,
    /// Bring code that may stay.
    Load,
    /// Bring input for what is loaded.
    Call,
}

impl Loading {
    /// Begins a call. One that is dropped while it loads leaves nothing to be called ever again: nobody knows what became
    /// of it.
    pub(super) fn begin(&self, mode: InvokeMode) -> Result<Turn, BackendError> {
        match mode {
            InvokeMode::Once | InvokeMode::Beside => return Ok(Turn::Run),
            InvokeMode::Warm | InvokeMode::Forked => {}
        }
        let mut state = self.state();
        match *state {
            State::Nothing => {
                *state = State::Loading;
                Ok(Turn::Load)
            }
            State::Loaded => Ok(Turn::Call),
            State::Loading => Err(BackendError::Refused {
                code: RefusalCode::Busy,
                message: "the call that loads the handler is not over yet; wait for it before the next"
                    .into(),
            }),
        }
    }

    /// Notes how a call ended.
    pub(super) fn end(&self, turn: Turn, is_reusable: bool) {
        let mut state = self.state();
        *state = match (turn, is_reusable) {
            (Turn::Run, _) => return,
            (Turn::Load, true) => State::Loaded,
            // Of calls at once, whichever saw the end of the handler is right.
            (Turn::Call, true) => return,
            (Turn::Load | Turn::Call, false) => State::Nothing,
        };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_call_loads_and_later_ones_only_call() {
        let loading = Loading::default();
        assert_eq!(loading.begin(InvokeMode::Warm).ok(), Some(Turn::Load));
        assert!(matches!(
            loading.begin(InvokeMode::Warm),
            Err(BackendError::Refused {
                code: RefusalCode::Busy,
                ..
            })
        ));
        loading.end(Turn::Load, true);
        assert_eq!(loading.begin(InvokeMode::Warm).ok(), Some(Turn::Call));
        assert_eq!(loading.begin(InvokeMode::Warm).ok(), Some(Turn::Call));
    }

    #[test]
    fn what_is_over_is_loaded_anew() {
        let loading = Loading::default();
        loading.end(Turn::Load, true);
        loading.end(Turn::Call, false);
        loading.end(Turn::Call, true);
        assert_eq!(loading.begin(InvokeMode::Forked).ok(), Some(Turn::Load));
        loading.end(Turn::Load, false);
        assert_eq!(loading.begin(InvokeMode::Forked).ok(), Some(Turn::Load));
    }

    #[test]
    fn programs_of_their_own_load_nothing() {
        let loading = Loading::default();
        for mode in [InvokeMode::Once, InvokeMode::Beside] {
            assert_eq!(loading.begin(mode).ok(), Some(Turn::Run));
            loading.end(Turn::Run, true);
        }
        assert_eq!(loading.begin(InvokeMode::Warm).ok(), Some(Turn::Load));
    }
}
