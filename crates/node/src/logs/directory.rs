//! Where the logs are, and which of them still grow.

use std::{
    collections::HashMap,
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Semaphore, watch};
use vulcan_api::{Clock, WorkloadId};

use super::{file::LogFile, writer::Writer};

/// How far a log has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Progress {
    /// How many bytes of its file may be read.
    pub(super) len: u64,
    /// Whether nothing more will come.
    pub(super) ended: bool,
}

/// All logs of a node.
#[derive(Debug)]
pub(crate) struct Logs {
    root: PathBuf,
    pub(super) clock: Arc<dyn Clock>,
    live: Mutex<HashMap<WorkloadId, watch::Receiver<Progress>>>,
    pub(super) readers: Arc<Semaphore>,
}

impl Logs {
    /// The most readers at once; each holds a file, a block and a batch.
    pub(super) const READERS_MAX: usize = 256;

    /// Makes the logs of a node under a folder, which is made when it is needed.
    pub(crate) fn new(root: PathBuf, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            root,
            clock,
            live: Mutex::default(),
            readers: Arc::new(Semaphore::new(Self::READERS_MAX)),
        })
    }

    /// Begins a workload's log, or goes on with it after its first assignment. Touches no disk for a first assignment.
    pub(crate) fn open(self: &Arc<Self>, workload: WorkloadId, generation: u32, bytes_max: u64) -> Writer {
        let path = self.path(&workload);
        // A stat on the hot path is saved where there cannot be a file.
        let file = if generation <= 1 {
            Ok(LogFile::new(path))
        } else {
            LogFile::resume(path)
        };
        let len = file.as_ref().map_or(0, LogFile::len);
        let progress = watch::Sender::new(Progress { len, ended: false });
        self.locked().insert(workload, progress.subscribe());
        Writer::new(Arc::clone(self), workload, file, progress, bytes_max)
    }

    /// Forgets that a log grows.
    pub(super) fn close(&self, workload: &WorkloadId) {
        self.locked().remove(workload);
    }

    /// Returns the progress of a log that still grows.
    pub(super) fn live(&self, workload: &WorkloadId) -> Option<watch::Receiver<Progress>> {
        self.locked().get(workload).cloned()
    }

    /// Returns where a log is. The last characters of an id are random, so that the folders fill evenly.
    pub(super) fn path(&self, workload: &WorkloadId) -> PathBuf {
        let name = workload.to_string();
        let folder = &name[name.len() - 2..];
        self.root.join(folder).join(format!("{name}.log"))
    }

    /// Deletes the logs of workloads whose records are gone. Blocks on the disk; may be repeated.
    pub(crate) fn forget(&self, workloads: &[WorkloadId]) {
        for workload in workloads {
            match fs::remove_file(self.path(workload)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(workload.id = %workload, %error, "log could not be deleted");
                }
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<WorkloadId, watch::Receiver<Progress>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
