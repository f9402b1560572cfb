//! One instance: limits, files, and the runs in it. It has no process; a memory only while something runs or is loaded.

use std::{
    num::NonZeroU16,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::{Mutex as AsyncMutex, OwnedSemaphorePermit},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use vulcan_api::{Footprint, Resources, Usage, WorkloadError};
use vulcan_backend::{BackendError, Exited, Instance, Invocation, InvokeMode, LogSink, Outcome};

use crate::{
    backend::Platform,
    budget::Budget,
    files::Disk,
    judge,
    load::{Artifact, Entry, LoadError},
    meter::{Meter, Metered},
    run::{Ground, Handler, never_ran},
};

const MIB: u64 = 1024 * 1024;
/// How long a guest gets to notice that it is stopped. It does within a tick, or at the end of one operation on its memory.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// How many calls at once a loaded handler takes: it has one memory and no threads.
const CALLS_AT_ONCE: NonZeroU16 = NonZeroU16::MIN;

/// An instance.
pub(crate) struct WasmInstance {
    inner: Arc<Inner>,
    /// Its place among all instances, until it is over.
    slot: Mutex<Option<OwnedSemaphorePermit>>,
}

struct Inner {
    platform: Arc<Platform>,
    resources: Resources,
    budget: Arc<Budget>,
    meter: Arc<Meter>,
    disk: OnceLock<Arc<Disk>>,
    stopping: CancellationToken,
    over: CancellationToken,
    runs: TaskTracker,
    /// What is loaded for warm calls, which come one after another.
    warm: AsyncMutex<Option<Handler>>,
}

impl WasmInstance {
    pub(crate) fn new(platform: Arc<Platform>, resources: Resources, slot: OwnedSemaphorePermit) -> Self {
        let inner = Inner {
            platform,
            resources,
            budget: Arc::new(Budget::new(u64::from(resources.mem_mb) * MIB)),
            meter: Arc::new(Meter::new(resources.cpus)),
            disk: OnceLock::new(),
            stopping: CancellationToken::new(),
            over: CancellationToken::new(),
            runs: TaskTracker::new(),
            warm: AsyncMutex::new(None),
        };
        Self {
            inner: Arc::new(inner),
            slot: Mutex::new(Some(slot)),
        }
    }
}

impl Inner {
    async fn run(&self, invocation: &Invocation, sink: &LogSink) -> Result<Outcome, BackendError> {
        let begun = Instant::now();
        self.budget.begin();
        let ground = match self.ground() {
            Ok(ground) => ground,
            Err(error) => return Ok(never_ran(error, begun.elapsed())),
        };
        match invocation.mode {
            InvokeMode::Once | InvokeMode::Beside => {
                let artifact = match self.artifact(invocation, &ground).await {
                    Ok(artifact) => artifact,
                    Err(error) => return Result::from(error).map(|error| never_ran(error, begun.elapsed())),
                };
                ground.once(&artifact, invocation, sink, begun).await
            }
            // A fork of a handler's memory would cost what a fresh instance costs.
            InvokeMode::Warm | InvokeMode::Forked => self.warm(&ground, invocation, sink, begun).await,
        }
    }

    /// Loads a program, and puts its files where it finds them.
    async fn artifact(&self, invocation: &Invocation, ground: &Ground) -> Result<Arc<Artifact>, LoadError> {
        let artifact = self.platform.loader.load(&invocation.program.code).await?;
        ground.mount(&artifact).map_err(LoadError::Program)?;
        Ok(artifact)
    }

    /// Calls what is loaded, or loads it first. What a trap leaves behind is thrown away: the next call begins afresh.
    async fn warm(
        &self,
        ground: &Ground,
        invocation: &Invocation,
        sink: &LogSink,
        begun: Instant,
    ) -> Result<Outcome, BackendError> {
        let mut loaded = self.warm.lock().await;
        let mut handler = match loaded.take() {
            Some(mut handler) => {
                handler.begin_call(invocation, sink);
                handler
            }
            None => {
                let artifact = match self.artifact(invocation, ground).await {
                    Ok(artifact) => artifact,
                    Err(error) => return Result::from(error).map(|error| never_ran(error, begun.elapsed())),
                };
                let Entry::Handler(module) = &artifact.entry else {
                    return ground.once(&artifact, invocation, sink, begun).await;
                };
                match ground.handler(module, &invocation.program, sink).await? {
                    Ok(handler) => handler,
                    Err(verdict) => return Ok(verdict.outcome(begun.elapsed())),
                }
            }
        };
        let prepared_in = begun.elapsed();
        let called = ground.call(&mut handler, invocation).await?;
        if called.is_whole {
            handler.end_call();
            *loaded = Some(handler);
        }
        Ok(Outcome {
            reusable: Some(CALLS_AT_ONCE),
            ..called.outcome(prepared_in)
        })
    }

    fn ground(&self) -> Result<Ground, WorkloadError> {
        let disk = match self.disk.get() {
            Some(disk) => Arc::clone(disk),
            None => {
                let bytes = u64::from(self.resources.disk_mb) * MIB;
                let made = Disk::new(bytes, Arc::clone(&self.budget))
                    .map_err(|_| judge::exception("there is no disk space at all (resources.disk_mb)"))?;
                Arc::clone(self.disk.get_or_init(|| Arc::new(made)))
            }
        };
        Ok(Ground {
            engine: self.platform.engine.clone(),
            budget: Arc::clone(&self.budget),
            meter: Arc::clone(&self.meter),
            disk,
            mem_mb: self.resources.mem_mb,
        })
    }

    fn begin_stop(&self) {
        self.stopping.cancel();
        self.runs.close();
        self.platform.ticker.interrupt();
    }
}

#[async_trait]
impl Instance for WasmInstance {
    async fn invoke(&self, invocation: Invocation, logs: LogSink) -> Result<Outcome, BackendError> {
        if self.inner.stopping.is_cancelled() {
            return Err(BackendError::Stopped);
        }
        let inner = Arc::clone(&self.inner);
        let run = async move {
            let running = inner.platform.ticker.running();
            let result = tokio::select! {
                biased;
                () = inner.stopping.cancelled() => Err(BackendError::Stopped),
                result = Metered::new(Arc::clone(&inner.meter), inner.run(&invocation, &logs)) => result,
            };
            drop(running);
            result
        };
        let task = self
            .inner
            .platform
            .executor
            .spawn(self.inner.runs.track_future(run));
        let result = task.await.unwrap_or_else(|error| {
            Err(BackendError::Lost {
                reason: error.to_string(),
            })
        });
        if self.inner.stopping.is_cancelled() {
            return Err(BackendError::Stopped);
        }
        result
    }

    async fn wait(&self) -> Exited {
        self.inner.over.cancelled().await;
        Exited::Stopped
    }

    /// Nothing tells a module that it is to end, so that no grace would be of use: it ends at once.
    async fn stop(&self, _grace: Duration) -> Result<(), BackendError> {
        self.inner.begin_stop();
        tokio::time::timeout(STOP_DEADLINE, self.inner.runs.wait())
            .await
            .map_err(|_| BackendError::SweepFailed {
                what: "a module that does not stop".to_owned(),
                source: std::io::ErrorKind::TimedOut.into(),
            })?;
        drop(self.inner.warm.lock().await.take());
        drop(self.slot.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.inner.over.cancel();
        Ok(())
    }

    async fn usage(&self) -> Result<Usage, BackendError> {
        Ok(Usage {
            cpu_ms: self.inner.meter.used().as_secs_f64() * 1e3,
            mem_peak_mb: Some(self.inner.budget.peak() as f64 / MIB as f64),
        })
    }

    /// It has no process: its linear memory, tables and files count, touched or not.
    async fn footprint(&self) -> Result<Option<Footprint>, BackendError> {
        let bytes = self.inner.budget.used();
        Ok(Some(Footprint {
            pss_bytes: bytes,
            private_bytes: bytes,
            processes: 0,
        }))
    }
}

impl Drop for WasmInstance {
    fn drop(&mut self) {
        self.inner.begin_stop();
    }
}
