//! Loaded instances: lent for one call at a time, or several, and given back.
//!
//! ```text
//! seat ──fill──▶ idle ◀──give back── lent
//!                 │ └────── lend ─────▲
//!                 └─ evicted, died    └─ retired: stopped, with every call in it
//! ```

use std::{
    num::NonZeroU16,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use futures::FutureExt as _;
use tokio::{sync::oneshot, time::Instant};
use vulcan_api::{InstanceId, Program, Usage};
use vulcan_backend::Instance;

use super::{
    blank::Ready,
    keeper::Pool,
    key::{Circumstances, WarmKey},
    kind::RootId,
    plan::Reason,
    state::{Entry, KeyState, State},
};
use crate::metrics::{InstanceState, Kind};

/// How long a call waits for a loaded instance that serves another one, before one more is started: less than a start takes, and
/// longer than most calls.
const BUSY_WAIT: Duration = Duration::from_millis(10);
/// How long a call waits for the first instance of its code to be loaded, before one more is started.
const LOADING_WAIT: Duration = Duration::from_millis(50);

/// How long a call waits where there are as many instances of its code as there may be, before a fresh one is started for it
/// alone: that costs hundreds of times what most calls do, and takes the processors from the loaded ones.
const FULL_WAIT: Duration = Duration::from_millis(500);

/// How long a call may be asked to wait for a loaded instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// As long as a start would take at most.
    Short,
    /// Only where no more instances may be started.
    Full,
    /// Not at all.
    None,
}

/// Who asks for loaded code.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) key: WarmKey,
    /// Whose it is: part of the key, and compared again.
    pub(crate) owner: &'a str,
    pub(crate) kind: Kind,
    pub(crate) mem_mb: u32,
    /// What it stands on: part of the key.
    pub(crate) root: Option<RootId>,
}

/// What came of asking for loaded code.
pub(crate) enum Loaded {
    /// Here it is.
    Lease(Lease),
    /// All are busy: one may be given back within the time. An error means that it is better not to wait.
    Wait(oneshot::Receiver<Lease>, Duration),
    /// There is none, and the caller may load one.
    Seat(Seat),
    /// There are as many as there may be: the caller gets a fresh instance for itself alone.
    Full,
}

/// What all calls of one loaded instance share.
#[derive(Debug)]
pub(super) struct Shared {
    id: InstanceId,
    mem_mb: u32,
    last: Mutex<Option<Reading>>,
    fate: OnceLock<&'static str>,
}

/// What an instance had used at some moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub(super) usage: Usage,
    pub(super) at: Instant,
}

impl Reading {
    /// Makes a reading of this moment.
    pub(super) fn now(usage: Usage) -> Self {
        Self {
            usage,
            at: Instant::now(),
        }
    }
}

impl Shared {
    /// Returns the instance's name.
    pub(super) const fn id(&self) -> InstanceId {
        self.id
    }

    /// Returns the last reading.
    pub(super) fn last(&self) -> Option<Reading> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a reading; returns the one before.
    pub(super) fn see(&self, reading: Reading) -> Option<Reading> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.replace(reading)
    }

    /// Returns what was used since the last reading; of calls at the same time, the one that ends first is charged.
    fn since_last(&self, usage: Option<Usage>) -> Option<Usage> {
        let usage = usage?;
        let before = self
            .see(Reading::now(usage))
            .map_or(0.0, |last| last.usage.cpu_ms);
        let cpu_ms = (usage.cpu_ms - before).max(0.0);
        Some(Usage { cpu_ms, ..usage })
    }
}

/// The right to one call in a loaded instance. One that is dropped unused goes back by itself; one that was used stops the
/// instance, for nobody knows what became of the call.
pub(crate) struct Lease {
    pool: Arc<Pool>,
    key: WarmKey,
    kind: Kind,
    serial: u64,
    instance: Arc<dyn Instance>,
    shared: Arc<Shared>,
    is_used: bool,
    is_over: bool,
}

/// The right to load one more instance with some code.
pub(crate) struct Seat {
    pool: Arc<Pool>,
    key: WarmKey,
    kind: Kind,
    mem_mb: u32,
    is_taken: bool,
}

/// What a supervisor does with the instance of a call that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// Nothing: the pool has it.
    Kept,
    /// Stops it.
    Stop,
    /// Nothing: other calls run in it, and the last of them stops it.
    LeftToOthers,
}

impl Pool {
    /// Lends an instance that has loaded some code, or says what else to do.
    pub(crate) fn lend(self: &Arc<Self>, ask: Ask<'_>, patience: Patience) -> Loaded {
        let mut state = self.locked();
        if state.closed || !self.is_enabled() {
            return Loaded::Full;
        }
        let dead = bury(&mut state, &ask.key);
        let known = state.keys.entry(ask.key).or_insert_with(|| KeyState::new(ask));
        let answer = if known.owner.as_ref() != ask.owner {
            // Two owners with one key would need a collision of SHA-256.
            Loaded::Full
        } else if let Some(lease) = self.lease(&mut state, ask.key) {
            Loaded::Lease(lease)
        } else {
            self.seat_or_wait(&mut state, ask, patience)
        };
        state.tidy_key(&ask.key);
        drop(state);
        for entry in dead {
            self.dismiss(ask.kind, entry.instance, Reason::Died);
        }
        answer
    }

    /// Lends the most recently used instance that has a free place, if there is one.
    fn lease(self: &Arc<Self>, state: &mut State, key: WarmKey) -> Option<Lease> {
        let known = state.keys.get_mut(&key)?;
        let entry = known
            .entries
            .iter_mut()
            .rfind(|entry| entry.calls < entry.calls_max)?;
        let lease = Lease {
            pool: Arc::clone(self),
            key,
            kind: known.kind,
            serial: entry.serial,
            instance: Arc::clone(&entry.instance),
            shared: Arc::clone(&entry.shared),
            is_used: false,
            is_over: false,
        };
        entry.calls += 1;
        if entry.calls == 1 {
            entry.counted = self.setup.metrics.instance(known.kind, InstanceState::Running);
            let bytes = entry.bytes;
            state.sub_idle(bytes);
        }
        Some(lease)
    }

    fn seat_or_wait(self: &Arc<Self>, state: &mut State, ask: Ask<'_>, patience: Patience) -> Loaded {
        let Some(known) = state.keys.get_mut(&ask.key) else {
            return Loaded::Full;
        };
        let len = u32::try_from(known.entries.len()).unwrap_or(u32::MAX);
        let is_full = len.saturating_add(known.seats) >= self.setup.limits.warm_per_key_max;
        let wait = match patience {
            Patience::Short if len > 0 => Some(BUSY_WAIT),
            Patience::Short if known.seats > 0 => Some(LOADING_WAIT),
            Patience::Full if is_full => Some(FULL_WAIT),
            Patience::Short | Patience::Full | Patience::None => None,
        };
        if let Some(wait) = wait {
            let (sender, receiver) = oneshot::channel();
            // Those that went away are at the front, for they came first.
            while known.waiters.front().is_some_and(oneshot::Sender::is_closed) {
                known.waiters.pop_front();
            }
            known.waiters.push_back(sender);
            return Loaded::Wait(receiver, wait);
        }
        if is_full {
            return Loaded::Full;
        }
        known.seats += 1;
        Loaded::Seat(Seat {
            pool: Arc::clone(self),
            key: ask.key,
            kind: ask.kind,
            mem_mb: ask.mem_mb,
            is_taken: false,
        })
    }

    /// Gives free places to whoever waits for them.
    fn serve_waiters(self: &Arc<Self>, state: &mut State, key: WarmKey) {
        while let Some(waiter) = state
            .keys
            .get_mut(&key)
            .and_then(|known| known.waiters.pop_front())
        {
            if waiter.is_closed() {
                continue;
            }
            let Some(lease) = self.lease(state, key) else {
                if let Some(known) = state.keys.get_mut(&key) {
                    known.waiters.push_front(waiter);
                }
                return;
            };
            if let Err(mut lease) = waiter.send(lease) {
                // It was never lent; to drop it as it is would lock what is locked.
                lease.is_over = true;
                self.vacate(state, &key, lease.serial);
            }
        }
    }

    /// Ends one call of an instance.
    fn vacate(&self, state: &mut State, key: &WarmKey, serial: u64) {
        let Some(known) = state.keys.get_mut(key) else {
            return;
        };
        let Some(at) = known.entries.iter().position(|entry| entry.serial == serial) else {
            return;
        };
        let entry = &mut known.entries[at];
        entry.calls = entry.calls.saturating_sub(1);
        if entry.calls > 0 {
            return;
        }
        entry.idle_since = Instant::now();
        entry.counted = self.setup.metrics.instance(known.kind, InstanceState::Warm);
        let bytes = entry.bytes;
        // The most recently used last.
        known.entries[at..].rotate_left(1);
        state.add_idle(bytes);
    }

    fn warm_died(self: &Arc<Self>, key: &WarmKey, serial: u64) {
        let mut state = self.locked();
        let kind = state.keys.get(key).map(|known| known.kind);
        let entry = state.take_entry(key, serial);
        drop(state);
        let Some((kind, entry)) = kind.zip(entry) else {
            return;
        };
        // Where calls run in it, they see it, and the first of them stops it.
        if entry.calls == 0 {
            self.dismiss(kind, entry.instance, Reason::Died);
        }
    }
}

impl KeyState {
    fn new(ask: Ask<'_>) -> Self {
        Self {
            owner: ask.owner.into(),
            kind: ask.kind,
            mem_mb: ask.mem_mb,
            root: ask.root,
            entries: Vec::new(),
            seats: 0,
            waiters: std::collections::VecDeque::new(),
        }
    }
}

/// Takes out the instances that would be lent next and are over: their watches may not have had their turn yet.
fn bury(state: &mut State, key: &WarmKey) -> Vec<Entry> {
    let mut dead = Vec::new();
    loop {
        let entries = state.keys.get(key).map(|known| known.entries.iter());
        let next = entries.and_then(|mut entries| entries.rfind(|entry| entry.calls < entry.calls_max));
        let Some(serial) = next
            .filter(|entry| entry.instance.wait().now_or_never().is_some())
            .map(|entry| entry.serial)
        else {
            return dead;
        };
        dead.extend(state.take_entry(key, serial));
    }
}

impl Lease {
    /// Returns the instance; the lease counts as used from now on.
    pub(crate) fn instance(&mut self) -> Arc<dyn Instance> {
        self.is_used = true;
        Arc::clone(&self.instance)
    }

    /// Returns the instance's name.
    pub(crate) fn id(&self) -> InstanceId {
        self.shared.id
    }

    /// Takes the instance out of the pool because of what happened to this call: no further call gets it, and those that run
    /// in it are told `why`.
    pub(crate) fn retire(&self, why: &'static str) {
        let _ = self.shared.fate.set(why);
        self.pool.locked().take_entry(&self.key, self.serial);
    }

    /// Returns why the instance was ended, where it was not because of this call's own program.
    pub(crate) fn fate(&self) -> Option<&'static str> {
        self.shared.fate.get().copied()
    }

    /// Returns what this call used, of a reading of the instance.
    pub(crate) fn charge(&self, usage: Option<Usage>) -> Option<Usage> {
        self.shared.since_last(usage)
    }

    /// Says that the instance is gone: nothing is to be done about it when this is dropped.
    pub(crate) const fn gone(&mut self) {
        self.is_over = true;
    }

    /// Ends the call, and gives the instance back if it is `reusable`.
    pub(crate) fn end(mut self, reusable: Option<NonZeroU16>) -> After {
        self.is_over = true;
        let last = self.shared.last().map(|last| last.usage);
        let bytes = Pool::charge(last, self.shared.mem_mb);
        self.release(|entry| {
            entry.bytes = bytes;
            // Once it is not reusable, it stays so.
            entry.calls_max = match reusable {
                Some(calls_max) if entry.calls_max > 0 => calls_max.get(),
                Some(_) | None => 0,
            };
        })
    }

    fn release(&self, change: impl FnOnce(&mut Entry)) -> After {
        let mut state = self.pool.locked();
        let entries = state
            .keys
            .get_mut(&self.key)
            .map(|known| known.entries.iter_mut());
        let entry = entries.and_then(|mut entries| entries.find(|entry| entry.serial == self.serial));
        let Some(entry) = entry else {
            // It was retired or the pools are closed: whoever comes here stops it, which may be repeated.
            return After::Stop;
        };
        change(entry);
        let (is_last, is_spent) = (entry.calls == 1, entry.calls_max == 0);
        self.pool.vacate(&mut state, &self.key, self.serial);
        match (is_spent, is_last) {
            (true, true) => {
                state.take_entry(&self.key, self.serial);
                After::Stop
            }
            (true, false) => After::LeftToOthers,
            (false, _) => {
                self.pool.serve_waiters(&mut state, self.key);
                self.pool.ring_if_over(&state);
                After::Kept
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        if self.is_used {
            self.retire("the call that used it was lost");
            self.pool.stop(self.kind, Arc::clone(&self.instance));
        } else if self.release(|_| {}) == After::Stop {
            self.pool.stop(self.kind, Arc::clone(&self.instance));
        }
    }
}

impl Seat {
    /// Puts a loaded instance into the pool, and returns whether it did; otherwise the caller stops it. `usage` is the last
    /// reading.
    pub(crate) fn fill(mut self, ready: &Ready, calls_max: NonZeroU16) -> bool {
        self.is_taken = true;
        let bytes = Pool::charge(ready.usage, self.mem_mb);
        let mut state = self.pool.locked();
        let Some(known) = state.keys.get_mut(&self.key) else {
            // The pools are closed.
            return false;
        };
        known.seats = known.seats.saturating_sub(1);
        let (serial, key) = (self.pool.serial(), self.key);
        let died = move |pool: &Arc<Pool>| pool.warm_died(&key, serial);
        known.entries.push(Entry {
            serial,
            instance: Arc::clone(&ready.instance),
            shared: Arc::new(Shared {
                id: ready.id,
                mem_mb: self.mem_mb,
                last: Mutex::new(ready.usage.map(Reading::now)),
                fate: OnceLock::new(),
            }),
            calls: 0,
            calls_max: calls_max.get(),
            idle_since: Instant::now(),
            bytes,
            watch: self.pool.watch(Arc::clone(&ready.instance), died),
            counted: self.pool.setup.metrics.instance(self.kind, InstanceState::Warm),
        });
        state.add_idle(bytes);
        self.pool.serve_waiters(&mut state, self.key);
        drop(state);
        // It has an idle time from now on.
        self.pool.changed.notify_one();
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.is_taken {
            return;
        }
        let mut state = self.pool.locked();
        let Some(known) = state.keys.get_mut(&self.key) else {
            return;
        };
        known.seats = known.seats.saturating_sub(1);
        state.tidy_key(&self.key);
    }
}

impl Pool {
    /// Returns the key of a program's code.
    pub(crate) async fn key(&self, circumstances: Circumstances<'_>, program: &Program) -> WarmKey {
        self.digests.key(circumstances, program).await
    }

    /// Has idle instances stopped where they are more than they may be.
    fn ring_if_over(&self, state: &State) {
        if state.idle_bytes > self.bounds.budget || state.idle_len > self.bounds.idle_max {
            self.changed.notify_one();
        }
    }
}
