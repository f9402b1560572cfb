//! Blank instances: taken, started ahead, and given to whoever waits.

use std::sync::Arc;

use futures::FutureExt as _;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};
use vulcan_api::{InstanceId, StartKind, Usage};
use vulcan_backend::{Instance, Root, StartRequest, Upper};

use super::{
    keeper::Pool,
    kind::{BlankKind, RootId},
    plan::Reason,
    state::{Blank, State},
};
use crate::{
    host,
    metrics::{InstanceState, Kind},
    outcome::chain,
};

/// How long a refill may take in all; a backend has a deadline of its own.
const REFILL_DEADLINE: std::time::Duration = std::time::Duration::from_secs(60);
/// How long a refill waits for the program that took an instance, where there is another one: most are over by then, and a
/// start costs more processor time than they do.
const REFILL_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);
/// How many kinds are known at once. The one that was not asked for for the longest time makes room.
pub(super) const KINDS_MAX: usize = 128;

/// An instance that is ready for its program.
pub(crate) struct Ready {
    pub(crate) instance: Arc<dyn Instance>,
    pub(crate) id: InstanceId,
    /// What it had used when it was ready; nobody's workload is charged for it.
    pub(crate) usage: Option<Usage>,
}

/// What came of asking for a blank instance.
pub(crate) enum Taken {
    /// Here it is.
    Ready(Ready),
    /// One is being started that nobody else waits for; an error means that there will be none.
    Coming(oneshot::Receiver<Ready>),
    /// There is none.
    None,
}

impl BlankKind {
    /// Returns the labels of its metrics.
    pub(super) const fn counted(self) -> Kind {
        Kind {
            isolation: self.isolation,
            runtime: self.runtime,
        }
    }
}

impl Pool {
    /// Takes a blank instance, for ever. Counts the request, so that the pool learns from it.
    pub(crate) fn take(self: &Arc<Self>, kind: BlankKind, root: Option<&Arc<Root>>) -> Taken {
        let mut state = self.locked();
        if state.closed || !learn(&mut state, kind, root) {
            return Taken::None;
        }
        let now = Instant::now();
        let mut dead = Vec::new();
        let mut taken = Taken::None;
        if let Some(known) = state.kinds.get_mut(&kind) {
            known.demand.note(now);
        }
        while let Some(blank) = state.kinds.get_mut(&kind).and_then(|known| known.idle.pop()) {
            blank.watch.abort();
            state.sub_idle(blank.bytes);
            // Its watch may not have had its turn yet.
            if blank.ready.instance.wait().now_or_never().is_none() {
                taken = Taken::Ready(blank.ready);
                break;
            }
            dead.push(blank.ready.instance);
        }
        if let Some(known) = state.kinds.get_mut(&kind) {
            let has_more = matches!(taken, Taken::Ready(_)) && !known.idle.is_empty();
            known.quiet_until = has_more.then(|| now + REFILL_PAUSE);
        }
        if let (Taken::None, Some(known)) = (&taken, state.kinds.get_mut(&kind)) {
            known.joiners.retain(|joiner| !joiner.is_closed());
            if known.refilling as usize > known.joiners.len() {
                let (sender, receiver) = oneshot::channel();
                known.joiners.push_back(sender);
                taken = Taken::Coming(receiver);
            }
        }
        drop(state);
        for instance in dead {
            self.dismiss(kind.counted(), instance, Reason::Died);
        }
        self.changed.notify_one();
        taken
    }

    /// Counts whether a workload found what it wanted.
    pub(crate) fn count(&self, kind: Kind, wanted: StartKind, is_hit: bool) {
        if is_hit {
            self.setup.metrics.pool_hit(kind, wanted);
        } else {
            self.setup.metrics.pool_missed(kind, wanted);
        }
    }

    /// Stops the idle instance of a class that is worth least, if there is one: its backend has no room. Says whether.
    pub(crate) fn relieve(self: &Arc<Self>, isolation: vulcan_api::IsolationClass) -> bool {
        let mut state = self.locked();
        let warm = state
            .keys
            .iter()
            .filter(|(_, known)| known.kind.isolation == isolation)
            .flat_map(|(key, known)| known.entries.iter().map(move |entry| (key, entry)))
            .filter(|(_, entry)| entry.calls == 0)
            .min_by_key(|(_, entry)| (entry.idle_since, entry.serial))
            .map(|(key, entry)| (*key, entry.serial));
        let blank = state
            .kinds
            .iter()
            .filter(|(kind, _)| kind.isolation == isolation)
            .find_map(|(kind, known)| known.idle.first().map(|blank| (*kind, blank.serial)));
        let found = match (warm, blank) {
            (Some((key, serial)), _) => {
                let kind = state.keys.get(&key).map(|known| known.kind);
                kind.zip(state.take_entry(&key, serial).map(|entry| entry.instance))
            }
            (None, Some((kind, serial))) => state
                .take_blank(&kind, serial)
                .map(|blank| (kind.counted(), blank.ready.instance)),
            (None, None) => None,
        };
        drop(state);
        let Some((kind, instance)) = found else {
            return false;
        };
        self.dismiss(kind, instance, Reason::Exhausted);
        true
    }

    /// Stops every idle instance that stands on a root and starts no more, so that its image can be removed.
    pub(crate) async fn leave_root(self: &Arc<Self>, root: RootId) {
        let mut left = Vec::new();
        {
            let mut state = self.locked();
            let kinds: Vec<BlankKind> = state
                .kinds
                .keys()
                .filter(|kind| kind.root == Some(root))
                .copied()
                .collect();
            for kind in kinds {
                let Some(known) = state.kinds.remove(&kind) else {
                    continue;
                };
                for blank in known.idle {
                    blank.watch.abort();
                    state.sub_idle(blank.bytes);
                    left.push((kind.counted(), blank.ready.instance));
                }
            }
            let loaded: Vec<_> = state
                .keys
                .iter()
                .filter(|(_, known)| known.root == Some(root))
                .flat_map(|(key, known)| known.entries.iter().map(move |entry| (*key, known.kind, entry)))
                .filter(|(_, _, entry)| entry.calls == 0)
                .map(|(key, kind, entry)| (key, kind, entry.serial))
                .collect();
            for (key, kind, serial) in loaded {
                left.extend(state.take_entry(&key, serial).map(|entry| (kind, entry.instance)));
            }
        }
        let stops = left.into_iter().map(|(_, instance)| async move {
            // Whoever removes the image hears what still uses it.
            let _ = timeout(self.setup.stop, instance.stop(std::time::Duration::ZERO)).await;
        });
        futures::future::join_all(stops).await;
    }

    /// Starts one more of a kind in the background. The caller has counted it as refilling.
    pub(super) fn refill(self: &Arc<Self>, kind: BlankKind) {
        let refill = Refill {
            pool: Arc::clone(self),
            kind,
        };
        self.tasks.spawn(refill.run());
    }
}

/// Makes room for a kind and knows it from now on; says whether it could.
pub(super) fn learn(state: &mut State, kind: BlankKind, root: Option<&Arc<Root>>) -> bool {
    if state.kinds.len() >= KINDS_MAX && !state.kinds.contains_key(&kind) {
        let is_free = |known: &super::state::KindState| {
            known.minimum == 0 && known.refilling == 0 && known.idle.is_empty()
        };
        let oldest = state.kinds.iter().filter(|(_, known)| is_free(known));
        let Some(oldest) = oldest
            .min_by_key(|(_, known)| known.demand.last())
            .map(|(kind, _)| *kind)
        else {
            return false;
        };
        state.kinds.remove(&oldest);
    }
    let known = state.kinds.entry(kind).or_default();
    if known.root.is_none() {
        known.root = root.map(Arc::clone);
    }
    true
}

/// One refill; whatever becomes of it, it is not counted as coming any more when this is dropped.
struct Refill {
    pool: Arc<Pool>,
    kind: BlankKind,
}

impl Drop for Refill {
    fn drop(&mut self) {
        if let Some(known) = self.pool.locked().kinds.get_mut(&self.kind) {
            known.refilling = known.refilling.saturating_sub(1);
            // Who waits for more than still comes is told so.
            while known.joiners.len() > known.refilling as usize {
                known.joiners.pop_back();
            }
        }
        self.pool.changed.notify_one();
    }
}

impl Refill {
    async fn run(self) {
        let began = Instant::now();
        let setup = &self.pool.setup;
        let Some(backend) = setup.backends.get(&self.kind.isolation) else {
            return;
        };
        let root = match self.pool.locked().kinds.get(&self.kind) {
            Some(known) => known.root.clone(),
            // Forgotten in the meantime.
            None => return,
        };
        let id = InstanceId::generate(setup.clock.now(), host::random());
        let request = StartRequest {
            instance: id,
            resources: self.kind.size.resources(),
            network: self.kind.network,
            prepare: Some(self.kind.runtime),
            root,
            upper: Upper::Memory,
        };
        // A start that is dropped leaves nothing.
        let started = tokio::select! {
            () = self.pool.closing.cancelled() => return,
            started = timeout(REFILL_DEADLINE, backend.start(request)) => started,
        };
        let instance = match started {
            Ok(Ok(instance)) => instance,
            Ok(Err(error)) => return self.failed(&chain(&error)),
            Err(_) => return self.failed(&format!("it took longer than {REFILL_DEADLINE:?}")),
        };
        let usage = Pool::reading(instance.as_ref()).await;
        setup.metrics.pool_refilled(self.kind.counted(), began.elapsed());
        self.keep(Ready { instance, id, usage });
    }

    fn failed(&self, reason: &str) {
        let now = (Instant::now(), self.pool.setup.clock.now());
        let percent = u32::try_from(host::random() % 51).unwrap_or(0);
        if let Some(known) = self.pool.locked().kinds.get_mut(&self.kind) {
            known.backoff.failed(reason, now, percent);
        }
        let (isolation, runtime) = (self.kind.isolation.as_str(), self.kind.runtime.as_str());
        tracing::warn!(
            isolation,
            runtime,
            error = reason,
            "instance could not be started ahead"
        );
    }

    /// Gives an instance to whoever waits, or puts it into the pool.
    fn keep(&self, mut ready: Ready) {
        let bytes = Pool::charge(ready.usage, self.kind.size.mem_mb);
        let mut state = self.pool.locked();
        let Some(known) = state.kinds.get_mut(&self.kind) else {
            drop(state);
            return self.pool.stop(self.kind.counted(), ready.instance);
        };
        known.backoff.succeeded();
        known.bytes = Some(bytes);
        while let Some(joiner) = known.joiners.pop_front() {
            match joiner.send(ready) {
                Ok(()) => return,
                Err(back) => ready = back,
            }
        }
        let (serial, kind) = (self.pool.serial(), self.kind);
        let died = move |pool: &Arc<Pool>| pool.blank_died(kind, serial);
        known.idle.push(Blank {
            serial,
            watch: self.pool.watch(Arc::clone(&ready.instance), died),
            ready,
            bytes,
            since: Instant::now(),
            _counted: self
                .pool
                .setup
                .metrics
                .instance(kind.counted(), InstanceState::Blank),
        });
        state.add_idle(bytes);
    }
}

impl Pool {
    fn blank_died(self: &Arc<Self>, kind: BlankKind, serial: u64) {
        let Some(blank) = self.locked().take_blank(&kind, serial) else {
            return;
        };
        let (isolation, runtime) = (kind.isolation.as_str(), kind.runtime.as_str());
        tracing::warn!(isolation, runtime, instance.id = %blank.ready.id, "idle instance ended by itself");
        self.dismiss(kind.counted(), blank.ready.instance, Reason::Died);
        self.changed.notify_one();
    }
}
