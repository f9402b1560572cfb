//! What the tasks of a node share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use tokio::sync::{Notify, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use vulcan_api::{Clock, IsolationClass, NodeName, Resources, Timestamp, WorkloadId};
use vulcan_backend::{Backend, Instance};
use vulcan_bus::StopReason;

use crate::{
    Capacity, Intervals, Metrics,
    admission::{Used, admit},
    bare::Bare,
    compile::Compiler,
    image::Images,
    logs::Logs,
    outbox::Outbox,
    pool::Pool,
    store::Store,
};

/// What the tasks of a node share.
pub(crate) struct Node {
    pub(crate) name: NodeName,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) backends: HashMap<IsolationClass, Arc<dyn Backend>>,
    pub(crate) capacity: Capacity,
    pub(crate) metrics: Metrics,
    pub(crate) intervals: Intervals,
    pub(crate) logs: Arc<Logs>,
    pub(crate) store: Store,
    pub(crate) outbox: Outbox,
    pub(crate) compiler: Compiler,
    pub(crate) pool: Arc<Pool>,
    pub(crate) bare: Bare,
    pub(crate) images: Arc<Images>,
    pub(crate) started_at: Timestamp,
    /// The supervisors: what a drain waits for.
    pub(crate) supervisors: TaskTracker,
    /// Everything else that ends when the node closes.
    pub(crate) background: TaskTracker,
    pub(crate) closing: CancellationToken,
    /// Cancelled when nothing more is taken.
    pub(crate) drain_began: CancellationToken,
    /// Rung when the backends should be looked at before their time.
    pub(crate) look: Notify,
    /// Rung when the backends were looked at, and the control plane was told.
    pub(crate) told: watch::Sender<()>,
    pub(crate) work: Mutex<Work>,
}

/// What is assigned and not over, and what it takes.
#[derive(Default)]
pub(crate) struct Work {
    active: HashMap<WorkloadId, Active>,
    used: Used,
}

/// A workload with a supervisor.
struct Active {
    generation: u32,
    stop: watch::Sender<Option<StopReason>>,
    /// What runs it, for whoever measures; its supervisor owns it.
    instance: Option<Weak<dyn Instance>>,
}

/// A part of the node's capacity; given back when it is dropped.
pub(crate) struct Share {
    node: Arc<Node>,
    mem_mb: u32,
    /// Whose it is, where it is a workload's.
    assigned: Option<(WorkloadId, u32)>,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut work = self.node.locked();
        work.used = work.used.without(self.mem_mb);
        // It has left already, unless its supervisor panicked: then the control plane finds it missing.
        if let Some((workload, generation)) = self.assigned
            && work
                .active
                .get(&workload)
                .is_some_and(|active| active.generation == generation)
        {
            work.active.remove(&workload);
        }
        self.node.metrics.capacity(self.node.capacity, work.used);
    }
}

impl Node {
    /// Takes a share of the node for a workload, or says why there is none.
    pub(crate) fn admit(
        self: &Arc<Self>,
        workload: WorkloadId,
        generation: u32,
        resources: &Resources,
    ) -> Result<(Share, watch::Receiver<Option<StopReason>>), String> {
        if self.drain_began.is_cancelled() {
            return Err(format!("node {} is shutting down", self.name));
        }
        let mut work = self.locked();
        work.used = admit(work.used, self.capacity, resources)?;
        self.metrics.capacity(self.capacity, work.used);
        let (stop, stopped) = watch::channel(None);
        work.active.insert(
            workload,
            Active {
                generation,
                stop,
                instance: None,
            },
        );
        drop(work);
        Ok((
            Share {
                node: Arc::clone(self),
                mem_mb: resources.mem_mb,
                assigned: Some((workload, generation)),
            },
            stopped,
        ))
    }

    /// Takes a share whatever there is: see [`crate::CompileLimits::concurrent_max`].
    pub(crate) fn share_beyond_capacity(self: &Arc<Self>, mem_mb: u32) -> Share {
        let mut work = self.locked();
        work.used = work.used.with(mem_mb);
        self.metrics.capacity(self.capacity, work.used);
        Share {
            node: Arc::clone(self),
            mem_mb,
            assigned: None,
        }
    }

    /// Notes that a workload is over; its share is given back by its supervisor.
    pub(crate) fn leave(&self, workload: &WorkloadId) {
        self.locked().active.remove(workload);
    }

    /// Returns the generation of a workload that is not over.
    pub(crate) fn generation(&self, workload: &WorkloadId) -> Option<u32> {
        self.locked().active.get(workload).map(|active| active.generation)
    }

    /// Notes which instance runs a workload.
    pub(crate) fn runs_in(&self, workload: &WorkloadId, instance: &Arc<dyn Instance>) {
        if let Some(active) = self.locked().active.get_mut(workload) {
            active.instance = Some(Arc::downgrade(instance));
        }
    }

    /// Returns the instance that runs a workload.
    pub(crate) fn instance_of(&self, workload: &WorkloadId) -> Option<Arc<dyn Instance>> {
        self.locked().active.get(workload)?.instance.as_ref()?.upgrade()
    }

    /// Asks a workload's supervisor to stop it; the first reason counts. Returns whether there is such a workload.
    pub(crate) fn stop(&self, workload: &WorkloadId, reason: StopReason) -> bool {
        let work = self.locked();
        let Some(active) = work.active.get(workload) else {
            return false;
        };
        active
            .stop
            .send_if_modified(|stop| stop.is_none() && stop.replace(reason).is_none());
        true
    }

    /// Asks every supervisor to stop.
    pub(crate) fn stop_all(&self, reason: StopReason) {
        let workloads: Vec<WorkloadId> = self.locked().active.keys().copied().collect();
        for workload in workloads {
            self.stop(&workload, reason);
        }
    }

    /// Returns what is used, and everything that is assigned and not acknowledged.
    pub(crate) fn census(&self) -> (Used, Vec<(WorkloadId, u32)>) {
        // In this order: an end is put into the outbox before its workload leaves, so that it is always in one of the two.
        let (used, mut workloads) = {
            let work = self.locked();
            let active = work
                .active
                .iter()
                .map(|(workload, active)| (*workload, active.generation));
            (work.used, active.collect::<Vec<_>>())
        };
        workloads.extend(self.outbox.waiting());
        workloads.sort_unstable();
        workloads.dedup();
        (used, workloads)
    }

    pub(crate) fn locked(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
