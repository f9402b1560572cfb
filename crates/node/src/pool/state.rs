//! What is in the pools now. Everything here is plain data; nothing waits.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use tokio::{sync::oneshot, task::AbortHandle, time::Instant};
use vulcan_backend::{Instance, Root};

use super::{
    backoff::Backoff,
    blank::Ready,
    demand::Demand,
    key::WarmKey,
    kind::{BlankKind, RootId},
    plan::{Idle, KindView},
    warm::{Lease, Shared},
};
use crate::metrics::{Counted, Kind};

/// What is in the pools.
#[derive(Default)]
pub(super) struct State {
    /// Nothing is taken in or given out any more.
    pub(super) closed: bool,
    pub(super) kinds: HashMap<BlankKind, KindState>,
    pub(super) keys: HashMap<WarmKey, KeyState>,
    /// What all idle instances are charged.
    pub(super) idle_bytes: u64,
    pub(super) idle_len: usize,
}

/// One kind of blank instances.
#[derive(Default)]
pub(super) struct KindState {
    pub(super) minimum: u32,
    /// What its instances stand on; kept while the kind is known, so that more can be started.
    pub(super) root: Option<Arc<Root>>,
    pub(super) demand: Demand,
    /// The newest last.
    pub(super) idle: Vec<Blank>,
    pub(super) refilling: u32,
    /// Who waits for what is being started.
    pub(super) joiners: VecDeque<oneshot::Sender<Ready>>,
    /// What the last one took.
    pub(super) bytes: Option<u64>,
    pub(super) backoff: Backoff,
    /// Nothing is started ahead before this: what was just taken runs alone.
    pub(super) quiet_until: Option<Instant>,
}

/// A blank instance that waits.
pub(super) struct Blank {
    pub(super) serial: u64,
    pub(super) ready: Ready,
    pub(super) bytes: u64,
    pub(super) since: Instant,
    pub(super) watch: AbortHandle,
    pub(super) _counted: Counted,
}

/// The instances that have loaded one owner's one code.
pub(super) struct KeyState {
    pub(super) owner: Box<str>,
    pub(super) kind: Kind,
    pub(super) mem_mb: u32,
    pub(super) root: Option<RootId>,
    /// The most recently used last.
    pub(super) entries: Vec<Entry>,
    /// How many are being loaded.
    pub(super) seats: u32,
    /// Who waits for one to be given back.
    pub(super) waiters: VecDeque<oneshot::Sender<Lease>>,
}

/// One instance with loaded code.
pub(super) struct Entry {
    pub(super) serial: u64,
    pub(super) instance: Arc<dyn Instance>,
    pub(super) shared: Arc<Shared>,
    pub(super) calls: u16,
    pub(super) calls_max: u16,
    pub(super) idle_since: Instant,
    pub(super) bytes: u64,
    pub(super) watch: AbortHandle,
    pub(super) counted: Counted,
}

impl State {
    pub(super) fn add_idle(&mut self, bytes: u64) {
        self.idle_bytes = self.idle_bytes.saturating_add(bytes);
        self.idle_len += 1;
    }

    pub(super) fn sub_idle(&mut self, bytes: u64) {
        self.idle_bytes = self.idle_bytes.saturating_sub(bytes);
        self.idle_len = self.idle_len.saturating_sub(1);
    }

    /// Forgets a key without instances and loads. Nothing will be given back: who waits for it is told so.
    pub(super) fn tidy_key(&mut self, key: &WarmKey) {
        let is_empty = |state: &KeyState| state.entries.is_empty() && state.seats == 0;
        if self.keys.get(key).is_some_and(is_empty) {
            self.keys.remove(key);
        }
    }

    /// Takes a loaded instance out, idle or not.
    pub(super) fn take_entry(&mut self, key: &WarmKey, serial: u64) -> Option<Entry> {
        let state = self.keys.get_mut(key)?;
        let at = state.entries.iter().position(|entry| entry.serial == serial)?;
        let entry = state.entries.remove(at);
        if entry.calls == 0 {
            self.sub_idle(entry.bytes);
        }
        entry.watch.abort();
        self.tidy_key(key);
        Some(entry)
    }

    /// Takes a blank instance out.
    pub(super) fn take_blank(&mut self, kind: &BlankKind, serial: u64) -> Option<Blank> {
        let idle = &mut self.kinds.get_mut(kind)?.idle;
        let at = idle.iter().position(|blank| blank.serial == serial)?;
        let blank = idle.remove(at);
        blank.watch.abort();
        self.sub_idle(blank.bytes);
        Some(blank)
    }
}

impl KindState {
    /// Returns what a plan needs to know.
    pub(super) fn view(&mut self, estimate: u64, now: Instant) -> KindView {
        self.joiners.retain(|joiner| !joiner.is_closed());
        KindView {
            minimum: self.minimum,
            weight: self.demand.weight(now),
            asked_at: self.demand.last(),
            idle: self
                .idle
                .iter()
                .map(|blank| Idle {
                    serial: blank.serial,
                    since: blank.since,
                    bytes: blank.bytes,
                })
                .collect(),
            refilling: self.refilling,
            joined: u32::try_from(self.joiners.len()).unwrap_or(u32::MAX),
            estimate: self.bytes.unwrap_or(estimate),
            retry_at: self.backoff.until().max(self.quiet_until),
        }
    }
}
