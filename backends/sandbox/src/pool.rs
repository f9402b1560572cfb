//! The pool of slots: makes them when they are needed, keeps a few, throws away what is not clean.

use std::{
    collections::{BTreeSet, VecDeque},
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::task::TaskTracker;
use vulcan_backend::BackendError;
use vulcan_host::launcher::LaunchError;

use crate::slot::{Slot, SlotPlan};

/// All slots of a backend.
#[derive(Debug)]
pub(crate) struct Pool {
    plan: Arc<SlotPlan>,
    slots_max: u32,
    idle_max: usize,
    state: Mutex<State>,
    /// Slots that are being thrown away.
    disposals: TaskTracker,
}

#[derive(Debug, Default)]
struct State {
    idle: VecDeque<Slot>,
    numbers: BTreeSet<u32>,
    is_closed: bool,
}

/// A slot in use. Dropping it throws the slot away with whatever runs in it; [`Lease::give_back`] keeps it.
#[derive(Debug)]
pub(crate) struct Lease {
    slot: Option<Slot>,
    pool: Arc<Pool>,
}

impl Pool {
    pub(crate) fn new(plan: SlotPlan, slots_max: u32, idle_max: usize) -> Self {
        Self {
            plan: Arc::new(plan),
            slots_max,
            idle_max,
            state: Mutex::default(),
            disposals: TaskTracker::new(),
        }
    }

    pub(crate) fn plan(&self) -> &SlotPlan {
        &self.plan
    }

    /// Returns a slot in which nothing runs. Dropping the future leaves nothing.
    pub(crate) async fn lease(self: &Arc<Self>) -> Result<Lease, BackendError> {
        let number = {
            let mut state = self.state();
            if state.is_closed {
                return Err(BackendError::Stopped);
            }
            if let Some(slot) = state.idle.pop_back() {
                return Ok(Lease {
                    slot: Some(slot),
                    pool: Arc::clone(self),
                });
            }
            let number = (0..self.slots_max)
                .find(|number| !state.numbers.contains(number))
                .ok_or(BackendError::Exhausted {
                    what: "sandbox slots",
                    source: None,
                })?;
            state.numbers.insert(number);
            number
        };
        let reservation = Reservation {
            number: Some(number),
            pool: self,
        };
        let slot = Slot::make(Arc::clone(&self.plan), number)
            .await
            .map_err(start_failed)?;
        reservation.keep();
        Ok(Lease {
            slot: Some(slot),
            pool: Arc::clone(self),
        })
    }

    /// Throws every idle slot away, and waits until all that were in use are too.
    pub(crate) async fn close(&self) {
        let idle = {
            let mut state = self.state();
            state.is_closed = true;
            std::mem::take(&mut state.idle)
        };
        for slot in idle {
            self.dispose_blocking(slot);
        }
        self.disposals.close();
        self.disposals.wait().await;
    }

    fn dispose(self: &Arc<Self>, slot: Slot) {
        if tokio::runtime::Handle::try_current().is_ok() {
            let pool = Arc::clone(self);
            self.disposals.spawn_blocking(move || pool.dispose_blocking(slot));
        } else {
            self.dispose_blocking(slot);
        }
    }

    fn dispose_blocking(&self, slot: Slot) {
        let number = slot.number;
        match slot.dispose() {
            Ok(()) => drop(self.state().numbers.remove(&number)),
            // The number stays taken, so that nobody starts among what is left; the next server sweeps it.
            Err(error) => tracing::error!(slot = number, error = %error, "slot could not be removed"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete in itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Gives the slot back for another instance, if it is clean.
    pub(crate) fn give_back(mut self) {
        let Some(slot) = self.slot.take() else { return };
        let is_clean = slot.is_clean();
        let mut state = self.pool.state();
        if is_clean && !state.is_closed && state.idle.len() < self.pool.idle_max {
            state.idle.push_back(slot);
        } else {
            drop(state);
            self.pool.dispose(slot);
        }
    }
}

impl Deref for Lease {
    type Target = Slot;

    fn deref(&self) -> &Slot {
        self.slot
            .as_ref()
            .expect("a lease has its slot until it is given back")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Slot {
        self.slot
            .as_mut()
            .expect("a lease has its slot until it is given back")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.pool.dispose(slot);
        }
    }
}

/// A number that is taken back unless its slot is made.
struct Reservation<'a> {
    number: Option<u32>,
    pool: &'a Pool,
}

impl Reservation<'_> {
    fn keep(mut self) {
        self.number = None;
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.pool.state().numbers.remove(&number);
        }
    }
}

/// Turns a launcher's error into a backend's.
pub(crate) fn start_failed(error: LaunchError) -> BackendError {
    match error {
        LaunchError::Step { step, source } => BackendError::StartFailed { step, source },
        LaunchError::Unreachable(source) => BackendError::StartFailed {
            step: "reach the launcher".to_owned(),
            source: Some(source),
        },
        LaunchError::Gone => BackendError::StartFailed {
            step: "the launcher ended".to_owned(),
            source: None,
        },
        LaunchError::Confused => BackendError::StartFailed {
            step: "the launcher gave an unexpected answer".to_owned(),
            source: None,
        },
    }
}
