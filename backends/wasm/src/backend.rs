//! The backend.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Semaphore, TryAcquireError};
use vulcan_api::{InstanceId, IsolationClass, Readiness, Runtime, RuntimeInfo};
use vulcan_backend::{
    Backend, BackendError, Capabilities, Instance, Probe, Readying, RootForm, StartRequest, Swept,
};
use wasmtime::Engine;

use crate::{
    Options, engine::engine, executor::Executor, instance::WasmInstance, load::Loader, ticker::Ticker,
};

/// The version of Wasmtime, which the manifest pins.
const WASMTIME: &str = "48";

/// What all instances share.
pub(crate) struct Platform {
    pub(crate) engine: Engine,
    pub(crate) loader: Arc<Loader>,
    pub(crate) executor: Executor,
    pub(crate) ticker: Ticker,
}

/// The `wasm` class.
pub struct Wasm {
    capabilities: Capabilities,
    platform: Arc<Platform>,
    slots: Arc<Semaphore>,
    slots_max: usize,
}

/// How many instances there are, and what they hold: see [`Wasm::occupancy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occupancy {
    /// Instances that were started and not stopped.
    pub instances: usize,
    /// Linear memories in use.
    pub memories: usize,
    /// Stacks in use.
    pub stacks: usize,
}

impl Wasm {
    /// Makes the backend: reserves address space for its slots and starts its threads.
    ///
    /// # Errors
    ///
    /// When the host refuses the address space (`ulimit -v`; 4 GiB per slot) or a thread.
    pub fn new(options: &Options) -> std::io::Result<Self> {
        let failed = |error: wasmtime::Error| std::io::Error::other(format!("{error:#}"));
        let engine = engine(options).map_err(failed)?;
        let platform = Platform {
            executor: Executor::start(options.threads, options.niceness)?,
            ticker: Ticker::start(engine.clone())?,
            loader: Arc::new(Loader::new(engine.clone(), options.clone()).map_err(failed)?),
            engine,
        };
        Ok(Self {
            capabilities: Capabilities {
                isolation: IsolationClass::Wasm,
                abilities: Vec::new(),
                // A fresh instance takes less time than finding one that was started ahead.
                readying: vec![Readying {
                    runtime: Runtime::Wasm,
                    blank: None,
                    warm: true,
                    forked: false,
                }],
                root: RootForm::Own,
                outlives_server: false,
            },
            platform: Arc::new(platform),
            slots: Arc::new(Semaphore::new(options.slots_max as usize)),
            slots_max: options.slots_max as usize,
        })
    }

    /// Returns what is in use now.
    #[must_use]
    pub fn occupancy(&self) -> Occupancy {
        let metrics = self.platform.engine.pooling_allocator_metrics();
        Occupancy {
            instances: self.slots_max - self.slots.available_permits(),
            memories: metrics
                .as_ref()
                .map_or(0, wasmtime::PoolingAllocatorMetrics::memories),
            stacks: metrics
                .as_ref()
                .map_or(0, wasmtime::PoolingAllocatorMetrics::stacks),
        }
    }
}

#[async_trait]
impl Backend for Wasm {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn probe(&self) -> Probe {
        Probe {
            readiness: Readiness::Ready,
            runtimes: vec![RuntimeInfo {
                runtime: Runtime::Wasm,
                available: true,
                detail: format!("Wasmtime {WASMTIME}: WASI preview 1 and 2, plain modules with a handler"),
                packages: Vec::new(),
            }],
        }
    }

    async fn start(&self, request: StartRequest) -> Result<Arc<dyn Instance>, BackendError> {
        request.refuse_open_network(self.capabilities.isolation)?;
        let slot = Arc::clone(&self.slots)
            .try_acquire_owned()
            .map_err(|error| match error {
                TryAcquireError::NoPermits => BackendError::Exhausted {
                    what: "slots for WebAssembly instances",
                    source: None,
                },
                TryAcquireError::Closed => BackendError::StartFailed {
                    step: "take a slot: the backend is closed".to_owned(),
                    source: None,
                },
            })?;
        let platform = Arc::clone(&self.platform);
        Ok(Arc::new(WasmInstance::new(platform, request.resources, slot)))
    }

    async fn adopt(&self, _id: &InstanceId) -> Result<Option<Arc<dyn Instance>>, BackendError> {
        // An instance is a part of the server, and ends with it.
        Ok(None)
    }

    async fn sweep(&self, _keep: &[InstanceId]) -> Result<Swept, BackendError> {
        // For the same reason nothing is ever left.
        Ok(Swept::default())
    }

    async fn close(&self) {
        self.slots.close();
        self.platform.executor.close();
        let platform = Arc::clone(&self.platform);
        // It waits for whoever still runs.
        let _ = tokio::task::spawn_blocking(move || platform.ticker.close()).await;
    }
}
