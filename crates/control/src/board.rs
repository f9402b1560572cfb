//! What is known in memory about workloads that are not over, for whoever asks or waits.
//!
//! Written by the driver alone. Holds a workload from its acceptance until its end is on record.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use vulcan_api::{Workload, WorkloadId};

/// What a watcher sees of a workload.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// The record. A final status is on record in the database, too.
    pub(crate) record: Arc<Workload>,
    /// Why the record could not be stored, for as long as that is so.
    pub(crate) storage_failure: Option<crate::store::Error>,
}

/// The workloads that are not over.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<HashMap<WorkloadId, watch::Receiver<Seen>>>);

impl Board {
    /// Shows a workload.
    pub(crate) fn put(&self, id: WorkloadId, seen: watch::Receiver<Seen>) {
        self.lock().insert(id, seen);
    }

    /// Shows a workload no more; its record is in the database, or nowhere.
    pub(crate) fn remove(&self, id: WorkloadId) {
        self.lock().remove(&id);
    }

    /// Returns the present record.
    pub(crate) fn get(&self, id: WorkloadId) -> Option<Arc<Workload>> {
        self.lock().get(&id).map(|seen| Arc::clone(&seen.borrow().record))
    }

    /// Returns a way to wait for changes.
    pub(crate) fn watch(&self, id: WorkloadId) -> Option<watch::Receiver<Seen>> {
        self.lock().get(&id).cloned()
    }

    /// Returns the records that `keep` wants.
    pub(crate) fn list(&self, keep: impl Fn(&Workload) -> bool) -> Vec<Arc<Workload>> {
        self.lock()
            .values()
            .map(|seen| Arc::clone(&seen.borrow().record))
            .filter(|record| keep(record))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WorkloadId, watch::Receiver<Seen>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
