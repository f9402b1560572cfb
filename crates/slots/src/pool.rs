//! The pool of slots: makes a few ahead and more when they are needed, throws away what is not clean.

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use vulcan_api::Resources;
use vulcan_backend::{BackendError, Swept};
use vulcan_host::{cgroup::Tree, launcher::LaunchError, memfd::sealed_executable};

use crate::{
    SlotOptions,
    slot::{Slot, SlotPlan, ViewParts},
};

const LAUNCHER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vulcan-launcher"));

/// All slots of a backend.
#[derive(Debug)]
pub struct Pool {
    plan: Arc<SlotPlan>,
    options: SlotOptions,
    state: Mutex<State>,
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
    /// Makes a pool without slots. Starts nothing; what the host lacks shows in [`Pool::readiness`].
    ///
    /// # Errors
    ///
    /// When the launcher's executable cannot be put into memory.
    pub fn new(options: SlotOptions) -> io::Result<Arc<Self>> {
        let is_root = rustix::process::geteuid().is_root();
        let tree = Tree::open(&options.group);
        let plan = SlotPlan {
            launcher: sealed_executable("vulcan-launcher", LAUNCHER)?,
            readable: options.readable.clone(),
            view: OnceLock::new(),
            outer_id_first: is_root.then_some(options.outer_id_first),
            bundle_ids: options.bundle_ids,
            first: options
                .bundle_ids
                .is_none()
                .then(|| options.launch(&Resources::default(), tree.limits_memory())),
            tree,
        };
        Ok(Arc::new(Self {
            plan: Arc::new(plan),
            options,
            state: Mutex::default(),
            tasks: TaskTracker::new(),
        }))
    }

    /// Puts more into the view of all instances. Only before the first start, and once: later calls change nothing.
    pub fn furnish(&self, view: ViewParts) {
        self.plan.view.get_or_init(|| view);
    }

    /// Returns what the backend decided.
    #[must_use]
    pub const fn options(&self) -> &SlotOptions {
        &self.options
    }

    /// Returns the first user id on the host of a slot's instances, as root.
    #[must_use]
    pub fn outer_id(&self, slot: u32) -> Option<u32> {
        self.plan.outer_id(slot)
    }

    /// Returns the pool's part of the host's cgroups.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.plan.tree
    }

    /// Removes what a former server left in the pool's cgroups, processes included; see [`vulcan_backend::Backend::sweep`].
    ///
    /// # Errors
    ///
    /// [`BackendError::SweepFailed`].
    pub async fn sweep(&self) -> Result<Swept, BackendError> {
        let plan = Arc::clone(&self.plan);
        let swept = tokio::task::spawn_blocking(move || plan.tree.sweep())
            .await
            .map_err(|_| BackendError::Stopped)?
            .map_err(|source| BackendError::SweepFailed {
                what: "cgroups".to_owned(),
                source,
            })?;
        let with_processes = swept.values().filter(|processes| **processes > 0).count();
        Ok(Swept {
            instances: u32::try_from(with_processes).unwrap_or(u32::MAX),
            removed: swept.into_keys().map(|name| format!("cgroup {name}")).collect(),
        })
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
                what: self.options.noun,
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
        let ready_min = self.options.slots_ready_min.min(self.options.slots_idle_max);
        while state.numbers.len() < ready_min {
            let Some(number) = self.reserve(state) else { return };
            self.spawn_maker(number, None);
        }
    }

    fn reserve(&self, state: &mut State) -> Option<u32> {
        let number = (0..self.options.slots_max).find(|number| !state.numbers.contains(number))?;
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
        if !state.is_closed && state.idle.len() < self.options.slots_idle_max {
            state.idle.push_back(slot);
        } else {
            drop(state);
            self.dispose(slot);
        }
    }

    /// Throws every idle slot away, and waits until all that were in use are too.
    pub async fn close(&self) {
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
        let Some(mut slot) = self.slot.take() else { return };
        slot.holds = None;
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
