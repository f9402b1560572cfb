//! The one task that has plans made and carries them out.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tokio::time::{Instant, sleep_until};
use vulcan_api::{BackendInfo, IsolationClass, Network, Runtime};
use vulcan_backend::{Root, RootForm};

use super::{
    audit,
    blank::learn,
    keeper::Pool,
    key::WarmKey,
    kind::{BlankKind, RootId, Size},
    memory::Memory,
    plan::{Idle, Plan, Reason, View, plan},
    state::State,
};
use crate::metrics::Kind;

/// What the first blank instance of a kind is expected to take, where its limit is not less: a bare interpreter. What it
/// took is known afterwards.
const ESTIMATE_BYTES: u64 = 32 << 20;
/// A look at memory is good for so long.
const MEMORY_AGE_MAX: std::time::Duration = std::time::Duration::from_millis(100);

/// What the programs of each runtime stand on where they name no image.
pub(crate) type DefaultRoots = BTreeMap<Runtime, Arc<Root>>;

/// Where an instance of a plan is.
#[derive(Clone, Copy)]
enum Place {
    Blank(BlankKind),
    Warm(WarmKey),
}

impl Pool {
    /// Fills and empties the pools until they are closed.
    pub(crate) async fn tend(self: Arc<Self>) {
        if !self.is_enabled() {
            return;
        }
        let mut memory: Option<(Instant, Option<Memory>)> = None;
        let mut audited_at = Instant::now();
        loop {
            let now = Instant::now();
            if now.duration_since(audited_at) >= audit::EVERY {
                audited_at = now;
                self.tasks.spawn(Arc::clone(&self).audit());
            }
            let seen = match memory {
                Some((at, seen)) if now.duration_since(at) < MEMORY_AGE_MAX => seen,
                _ => (self.setup.memory)(),
            };
            memory = Some((now, seen));
            let look_at = self.look(seen);
            // Every branch is cancel-safe: a ring that is not heard is remembered.
            tokio::select! {
                () = self.closing.cancelled() => return,
                () = self.changed.notified() => {}
                () = sleep_until(look_at.unwrap_or(now)), if look_at.is_some() => {}
            }
        }
    }

    /// Takes note of what the backends offer: which kinds are kept always.
    ///
    /// `roots` are the default images of runtimes, as far as they are here.
    pub(crate) fn offered(&self, backends: &[BackendInfo], roots: &DefaultRoots) {
        if !self.is_enabled() {
            return;
        }
        let always = self.kept_always(backends, roots);
        let mut state = self.locked();
        if state.closed {
            return;
        }
        for (kind, known) in &mut state.kinds {
            if !always.contains_key(kind) {
                known.minimum = 0;
            }
        }
        for (kind, root) in always {
            if learn(&mut state, kind, root.as_ref())
                && let Some(known) = state.kinds.get_mut(&kind)
            {
                known.minimum = self.setup.limits.blank_per_kind;
            }
        }
        drop(state);
        self.changed.notify_one();
    }

    fn kept_always(
        &self,
        backends: &[BackendInfo],
        roots: &DefaultRoots,
    ) -> HashMap<BlankKind, Option<Arc<Root>>> {
        let limits = &self.setup.limits;
        let mut always = HashMap::new();
        for info in backends.iter().filter(|info| info.readiness.is_usable()) {
            let Some(backend) = self.setup.backends.get(&info.isolation) else {
                continue;
            };
            for readying in &backend.capabilities().readying {
                let is_named = limits
                    .blank
                    .iter()
                    .any(|name| (name.isolation, name.runtime) == (info.isolation, readying.runtime));
                let is_there = info
                    .runtimes
                    .iter()
                    .any(|other| other.runtime == readying.runtime && other.available);
                if let Some(runtime) = readying.blank
                    && (is_named
                        || (limits.blank.is_empty() && is_there && is_chosen_by_auto(info.isolation)))
                {
                    let root = match backend.capabilities().root {
                        RootForm::Own => None,
                        RootForm::Layers => match roots.get(&readying.runtime) {
                            Some(root) => Some(Arc::clone(root)),
                            None => continue,
                        },
                    };
                    let kind = BlankKind {
                        isolation: info.isolation,
                        runtime,
                        size: Size::of(&limits.resources),
                        network: Network::None,
                        root: root.as_deref().map(RootId::of),
                    };
                    always.insert(kind, root);
                }
            }
        }
        always
    }

    /// Makes a plan and carries it out; returns when to look again.
    pub(super) fn look(self: &Arc<Self>, memory: Option<Memory>) -> Option<Instant> {
        let percent = self.setup.limits.memory_available_min_percent;
        let shortfall = memory.map_or(0, |memory| memory.shortfall(percent));
        let mut state = self.locked();
        if state.closed {
            return None;
        }
        let kinds: Vec<BlankKind> = state.kinds.keys().copied().collect();
        let view = self.view(&mut state, &kinds, shortfall);
        let plan = plan(&view, &self.bounds);
        for at in &plan.refill {
            if let Some(known) = state.kinds.get_mut(&kinds[*at]) {
                known.refilling += 1;
            }
        }
        let stopped = take_out(&mut state, &plan);
        self.forget_kinds(&mut state);
        let idle = (state.idle_bytes, self.bounds.budget);
        drop(state);
        self.setup.metrics.pool_memory(idle.0, idle.1);
        for (kind, instance, reason) in stopped {
            self.dismiss(kind, instance, reason);
        }
        for at in plan.refill {
            self.refill(kinds[at]);
        }
        plan.look_at
    }

    fn view(&self, state: &mut State, kinds: &[BlankKind], shortfall: u64) -> View {
        let now = Instant::now();
        let estimate = |kind: &BlankKind| ESTIMATE_BYTES.min(u64::from(kind.size.mem_mb) << 20);
        View {
            now,
            shortfall,
            running: self.running(),
            kinds: kinds
                .iter()
                .filter_map(|kind| Some(state.kinds.get_mut(kind)?.view(estimate(kind), now)))
                .collect(),
            warm: state
                .keys
                .values()
                .flat_map(|known| &known.entries)
                .filter(|entry| entry.calls == 0)
                .map(|entry| Idle {
                    serial: entry.serial,
                    since: entry.idle_since,
                    bytes: entry.bytes,
                })
                .collect(),
        }
    }

    /// Forgets kinds that nobody asked for lately and that have nothing.
    fn forget_kinds(&self, state: &mut State) {
        let now = Instant::now();
        state.kinds.retain(|_, known| {
            let asked_at = known.demand.last();
            known.minimum > 0
                || known.refilling > 0
                || !known.idle.is_empty()
                || asked_at.is_some_and(|asked_at| now.duration_since(asked_at) < self.bounds.blank_idle)
        });
    }
}

/// Whether `auto` ever takes a class: nobody has to wait for the first start of one that has to be asked for by name.
const fn is_chosen_by_auto(isolation: IsolationClass) -> bool {
    match isolation {
        IsolationClass::Isolate
        | IsolationClass::Wasm
        | IsolationClass::Sandbox
        | IsolationClass::Gvisor
        | IsolationClass::Microvm => true,
        IsolationClass::Container => false,
    }
}

type Stopped = Vec<(Kind, Arc<dyn vulcan_backend::Instance>, Reason)>;

/// Takes what a plan stops out of the state.
fn take_out(state: &mut State, plan: &Plan) -> Stopped {
    let mut stopped = Vec::with_capacity(plan.stop.len());
    for (serial, reason) in &plan.stop {
        let taken = match place(state, *serial) {
            Some(Place::Blank(kind)) => state
                .take_blank(&kind, *serial)
                .map(|blank| (kind.counted(), blank.ready.instance)),
            Some(Place::Warm(key)) => {
                let kind = state.keys.get(&key).map(|known| known.kind);
                kind.zip(state.take_entry(&key, *serial).map(|entry| entry.instance))
            }
            None => None,
        };
        stopped.extend(taken.map(|(kind, instance)| (kind, instance, *reason)));
    }
    stopped
}

fn place(state: &State, serial: u64) -> Option<Place> {
    let blank = state
        .kinds
        .iter()
        .find(|(_, known)| known.idle.iter().any(|blank| blank.serial == serial));
    if let Some((kind, _)) = blank {
        return Some(Place::Blank(*kind));
    }
    let warm = state
        .keys
        .iter()
        .find(|(_, known)| known.entries.iter().any(|entry| entry.serial == serial));
    warm.map(|(key, _)| Place::Warm(*key))
}
