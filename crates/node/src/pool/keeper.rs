//! The pools as a whole: what they are given, and what they do with an instance that goes.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use vulcan_api::{Clock, IsolationClass, StartKind, Usage};
use vulcan_backend::{Backend, Instance};

use super::{
    key::Digests,
    limits::PoolLimits,
    memory::Memory,
    plan::{Bounds, Reason},
    state::State,
};
use crate::{
    Metrics, host,
    metrics::{InstanceState, Kind},
    outcome::chain,
};

/// How long an instance may take to say what it used.
const USAGE_DEADLINE: Duration = Duration::from_secs(5);

/// What pools are given.
pub(crate) struct Setup {
    pub(crate) limits: PoolLimits,
    pub(crate) backends: HashMap<IsolationClass, Arc<dyn Backend>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    /// How long a stop of an instance may take.
    pub(crate) stop: Duration,
    /// How much memory is left.
    pub(crate) memory: Box<dyn Fn() -> Option<Memory> + Send + Sync>,
}

/// All instances of a node that are kept ready.
pub(crate) struct Pool {
    pub(super) setup: Setup,
    pub(super) bounds: Bounds,
    pub(super) digests: Digests,
    state: Mutex<State>,
    serials: AtomicU64,
    running: AtomicU32,
    /// Rung when there may be something to start or to stop.
    pub(super) changed: Notify,
    pub(super) closing: CancellationToken,
    /// Refills, watches and stops.
    pub(super) tasks: TaskTracker,
}

/// A workload that has an instance, for as long as it lives.
pub(crate) struct Running(Arc<Pool>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Shows what the pools count before there is anything to count.
fn show_metrics(setup: &Setup, budget: u64) {
    setup.metrics.pool_memory(0, budget);
    for backend in setup.backends.values() {
        let capabilities = backend.capabilities();
        for readying in &capabilities.readying {
            let kind = Kind {
                isolation: capabilities.isolation,
                runtime: readying.runtime,
            };
            let starts = [
                (StartKind::Pooled, readying.blank.is_some()),
                (StartKind::Warm, readying.warm),
                (StartKind::Forked, readying.forked),
            ];
            for (start, _) in starts.into_iter().filter(|(_, is_there)| *is_there) {
                setup.metrics.pool_known(kind, start);
            }
        }
    }
}

impl Pool {
    /// Makes empty pools; [`Pool::tend`] fills them.
    pub(crate) fn new(setup: Setup) -> Arc<Self> {
        let limits = &setup.limits;
        let total = (setup.memory)().map_or_else(|| host::memory_mb() << 20, |memory| memory.total);
        let bounds = Bounds {
            budget: (total / 100).saturating_mul(limits.memory_percent.into()),
            idle_max: PoolLimits::IDLE_MAX as usize,
            blank_max: limits.blank_max,
            blank_idle: limits.blank_idle,
            warm_idle: limits.warm_idle,
            refills_max: limits.refill_concurrency,
            cpus: host::cpus(),
        };
        if limits.enabled {
            show_metrics(&setup, bounds.budget);
        }
        Arc::new(Self {
            bounds,
            setup,
            digests: Digests::default(),
            state: Mutex::default(),
            serials: AtomicU64::new(0),
            running: AtomicU32::new(0),
            changed: Notify::new(),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// Returns whether anything is kept at all.
    pub(crate) const fn is_enabled(&self) -> bool {
        self.setup.limits.enabled
    }

    /// Notes that a workload has an instance or is having one started: idle refills wait for a quiet node.
    pub(crate) fn run(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::Relaxed);
        Running(Arc::clone(self))
    }

    pub(super) fn running(&self) -> u32 {
        self.running.load(Ordering::Relaxed)
    }

    pub(super) fn serial(&self) -> u64 {
        self.serials.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns what an idle instance is charged: the most that it ever had, or its limit where nobody can tell. It may have
    /// given some of it back since, and shares some with others; it never has more.
    pub(super) fn charge(usage: Option<Usage>, mem_mb: u32) -> u64 {
        let limit = u64::from(mem_mb) << 20;
        let Some(mib) = usage.and_then(|usage| usage.mem_peak_mb) else {
            return limit;
        };
        // What no memory limit keeps (a host without control groups) may have taken more than its limit.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and nothing uses less than nothing"
        )]
        let bytes = (mib * f64::from(1 << 20)) as u64;
        bytes.max(1 << 20)
    }

    /// Asks an instance what it used, once.
    pub(crate) async fn reading(instance: &dyn Instance) -> Option<Usage> {
        match timeout(USAGE_DEADLINE, instance.usage()).await {
            Ok(Ok(usage)) => Some(usage),
            Ok(Err(error)) => {
                tracing::debug!(error = chain(&error), "usage is unknown");
                None
            }
            Err(_) => {
                tracing::warn!("instance did not say what it used");
                None
            }
        }
    }

    /// Stops an instance in the background, and counts why.
    pub(super) fn dismiss(self: &Arc<Self>, kind: Kind, instance: Arc<dyn Instance>, reason: Reason) {
        self.setup.metrics.pool_evicted(reason);
        self.stop(kind, instance);
    }

    /// Stops an instance in the background.
    pub(super) fn stop(self: &Arc<Self>, kind: Kind, instance: Arc<dyn Instance>) {
        let counted = self.setup.metrics.instance(kind, InstanceState::Stopping);
        let limit = self.setup.stop;
        self.tasks.spawn(async move {
            let _counted = counted;
            match timeout(limit, instance.stop(Duration::ZERO)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(error = chain(&error), "instance left something behind"),
                Err(_) => tracing::error!("instance did not stop in time"),
            }
        });
    }

    /// Calls `died` when an idle instance is over by itself.
    pub(super) fn watch(
        self: &Arc<Self>,
        instance: Arc<dyn Instance>,
        died: impl FnOnce(&Arc<Self>) + Send + 'static,
    ) -> tokio::task::AbortHandle {
        let pool = Arc::clone(self);
        let watching = async move {
            instance.wait().await;
            drop(instance);
            died(&pool);
        };
        self.tasks.spawn(watching).abort_handle()
    }

    /// Stops everything that is idle, and keeps nothing from now on. What runs goes on, and is stopped afterwards. May be
    /// repeated.
    pub(crate) fn close(self: &Arc<Self>) {
        let mut state = self.locked();
        state.closed = true;
        let kinds = std::mem::take(&mut state.kinds);
        let keys = std::mem::take(&mut state.keys);
        (state.idle_bytes, state.idle_len) = (0, 0);
        drop(state);
        self.closing.cancel();
        for (kind, state) in kinds {
            for blank in state.idle {
                blank.watch.abort();
                self.dismiss(kind.counted(), blank.ready.instance, Reason::Closed);
            }
        }
        for state in keys.into_values() {
            for entry in state.entries {
                entry.watch.abort();
                if entry.calls == 0 {
                    self.dismiss(state.kind, entry.instance, Reason::Closed);
                }
            }
        }
        self.digests.forget();
        self.setup.metrics.pool_memory(0, 0);
    }

    /// Waits until nothing of closed pools is left. May be repeated and dropped.
    pub(crate) fn closed(&self) -> impl Future<Output = ()> + '_ {
        self.tasks.close();
        self.tasks.wait()
    }

    pub(super) fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
