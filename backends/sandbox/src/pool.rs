//! The pool of slots: makes a few ahead and more when they are needed, throws away what is not clean.

use std::{
    collections::{BTreeSet, VecDeque},
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use vulcan_backend::BackendError;
use vulcan_host::launcher::LaunchError;

use crate::{
    Options,
    slot::{Slot, SlotPlan},
};

/// All slots of a backend.
#[derive(Debug)]
pub(crate) struct Pool {
    plan: Arc<SlotPlan>,
    slots_max: u32,
    idle_max: usize,
    state: Mutex<State>,
    ready_min: usize,
    /// Slots that are being made or thrown away.
    tasks: TaskTracker,
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
    pub(crate) fn new(plan: SlotPlan, options: &Options) -> Self {
        Self {
            plan: Arc::new(plan),
            slots_max: options.slots_max,
            idle_max: options.slots_idle_max,
            state: Mutex::default(),
            ready_min: options.slots_ready_min.min(options.slots_idle_max),
            tasks: TaskTracker::new(),
        }
    }

    pub(crate) fn plan(&self) -> &SlotPlan {
        &self.plan
    }

    /// Returns a slot in which nothing runs. Dropping the future leaves nothing but perhaps an idle slot more.
    pub(crate) async fn lease(self: &Arc<Self>) -> Result<Lease, BackendError> {
        let made = {
            let mut state = self.state();
            if state.is_closed {
                return Err(BackendError::Stopped);
            }
            // The one that rested longest: its launcher has long made what the next start needs.
            if let Some(slot) = state.idle.pop_front() {
                return Ok(self.lease_of(slot));
            }
            let number = self.reserve(&mut state).ok_or(BackendError::Exhausted {
                what: "sandbox slots",
                source: None,
            })?;
            let (reply, made) = oneshot::channel();
            self.spawn_maker(number, Some(reply));
            self.keep_ready(&mut state);
            made
        };
        let slot = made
            .await
            .map_err(|_| BackendError::Stopped)?
            .map_err(start_failed)?;
        Ok(self.lease_of(slot))
    }

    fn lease_of(self: &Arc<Self>, slot: Slot) -> Lease {
        Lease {
            slot: Some(slot),
            pool: Arc::clone(self),
        }
    }

    /// Makes slots in the background until there are as many as are to be ready.
    fn keep_ready(self: &Arc<Self>, state: &mut State) {
        while state.numbers.len() < self.ready_min {
            let Some(number) = self.reserve(state) else { return };
            self.spawn_maker(number, None);
        }
    }

    fn reserve(&self, state: &mut State) -> Option<u32> {
        let number = (0..self.slots_max).find(|number| !state.numbers.contains(number))?;
        state.numbers.insert(number);
        Some(number)
    }

    /// Makes a slot in a task of its own, so that nobody who gives up leaves one half made.
    fn spawn_maker(self: &Arc<Self>, number: u32, reply: Option<oneshot::Sender<Result<Slot, LaunchError>>>) {
        let pool = Arc::clone(self);
        self.tasks.spawn(async move {
            let made = Slot::make(Arc::clone(&pool.plan), number).await;
            if made.is_err() {
                pool.state().numbers.remove(&number);
            }
            let unclaimed = match reply {
                Some(reply) => reply.send(made).err(),
                None => Some(made),
            };
            match unclaimed {
                Some(Ok(slot)) => pool.put_back(slot),
                // Whoever waits for a slot is told; one that was made ahead is tried again when it is needed.
                Some(Err(error)) => tracing::debug!(error = %error, "slot could not be made ahead"),
                None => {}
            }
        });
    }

    fn put_back(self: &Arc<Self>, slot: Slot) {
        let mut state = self.state();
        if !state.is_closed && state.idle.len() < self.idle_max {
            state.idle.push_back(slot);
        } else {
            drop(state);
            self.dispose(slot);
        }
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
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn dispose(self: &Arc<Self>, slot: Slot) {
        if tokio::runtime::Handle::try_current().is_ok() {
            let pool = Arc::clone(self);
            self.tasks.spawn_blocking(move || pool.dispose_blocking(slot));
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
        if slot.is_clean() {
            self.pool.put_back(slot);
        } else {
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
