//! One compiler run per source, however many workloads wait for it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::{Semaphore, watch};
use vulcan_api::{Code, ErrorCode, IsolationClass, Resources, Runtime, WorkloadError, WorkloadId};

use super::cache::{Cache, Key};
use crate::{CompileLimits, Options, node::Node};

/// Why there is no executable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CompileError {
    /// The compiler did not like the source.
    #[error("{message}")]
    Failed {
        /// The compiler's own words.
        message: String,
    },
    /// The compiler could not be run.
    #[error("the compiler could not be run: {reason}")]
    Unavailable {
        /// What was in the way.
        reason: String,
    },
}

impl From<CompileError> for WorkloadError {
    fn from(error: CompileError) -> Self {
        let code = match error {
            CompileError::Failed { .. } => ErrorCode::CompileFailed,
            CompileError::Unavailable { .. } => ErrorCode::StartFailed,
        };
        Self::new(code, error.to_string())
    }
}

/// What is to be compiled, and for whom.
pub(crate) struct CompileRequest {
    pub(crate) workload: WorkloadId,
    pub(crate) isolation: IsolationClass,
    pub(crate) resources: Resources,
    pub(crate) code: Code,
}

pub(super) type Compiled = Result<Bytes, CompileError>;
type Announcement = watch::Sender<Option<Compiled>>;

/// Gives executables for sources.
pub(crate) struct Compiler {
    cache: Arc<Cache>,
    pub(super) limits: CompileLimits,
    running: Mutex<HashMap<Key, Announcement>>,
    pub(super) permits: Semaphore,
}

impl Compiler {
    /// Makes a compiler with its cache. Blocks on the disk.
    pub(crate) fn new(options: &Options) -> Self {
        let limits = options.compile;
        let directory = options.cache_dir.join(Runtime::Go.as_str());
        let cache = Cache::new(directory, limits.cache_bytes_max, Arc::clone(&options.clock));
        cache.tidy();
        Self {
            cache: Arc::new(cache),
            limits,
            running: Mutex::default(),
            permits: Semaphore::new(limits.concurrent_max.max(1)),
        }
    }

    /// Returns the executable of a source, compiled now if it was not before.
    ///
    /// May be dropped: a compiler that nobody waits for any more is stopped.
    pub(crate) async fn executable(&self, node: &Arc<Node>, request: CompileRequest) -> Compiled {
        let key = Key::of_go(&request.code);
        if let Some(bytes) = self.load(key).await {
            return Ok(bytes);
        }
        let mut announced = self.join(node, key, request);
        let compiled = announced
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|compiled| compiled.clone());
        let gone = || CompileError::Unavailable {
            reason: "the node is shutting down".to_owned(),
        };
        compiled.unwrap_or_else(|| Err(gone()))
    }

    /// Joins the run for a key, or starts it.
    fn join(&self, node: &Arc<Node>, key: Key, request: CompileRequest) -> watch::Receiver<Option<Compiled>> {
        let mut running = self.locked();
        if let Some(announcement) = running.get(&key) {
            return announcement.subscribe();
        }
        let announcement = watch::Sender::new(None);
        let announced = announcement.subscribe();
        running.insert(key, announcement.clone());
        node.supervisors
            .spawn(run_and_announce(Arc::clone(node), key, request, announcement));
        announced
    }

    /// Ends a run that nobody waits for; `false` when somebody has just joined.
    fn abandon(&self, key: Key, announcement: &Announcement) -> bool {
        let mut running = self.locked();
        let is_abandoned = announcement.receiver_count() == 0;
        if is_abandoned {
            running.remove(&key);
        }
        is_abandoned
    }

    async fn load(&self, key: Key) -> Option<Bytes> {
        let cache = Arc::clone(&self.cache);
        // It is only ever cancelled when the runtime ends.
        tokio::task::spawn_blocking(move || cache.load(key))
            .await
            .ok()
            .flatten()
    }

    async fn keep(&self, key: Key, executable: Bytes) {
        let cache = Arc::clone(&self.cache);
        let stored = tokio::task::spawn_blocking(move || cache.store(key, &executable)).await;
        if let Ok(Err(error)) = stored {
            tracing::warn!(%error, "executable could not be cached");
        }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Key, Announcement>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run_and_announce(node: Arc<Node>, key: Key, request: CompileRequest, announcement: Announcement) {
    let compiler = &node.compiler;
    let abandoned = async {
        loop {
            announcement.closed().await;
            if compiler.abandon(key, &announcement) {
                return;
            }
        }
    };
    let Some(compiled) = super::run::compile(&node, request, abandoned).await else {
        return;
    };
    if let Ok(executable) = &compiled {
        compiler.keep(key, executable.clone()).await;
    }
    // Who joins from now on finds it in the cache.
    compiler.locked().remove(&key);
    announcement.send_replace(Some(compiled));
}
