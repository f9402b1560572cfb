//! The backend.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use async_trait::async_trait;
use vulcan_api::{InstanceId, IsolationClass, Resources, Runtime, RuntimeInfo};
use vulcan_backend::{
    AGENT, Ability, Backend, BackendError, Capabilities, Instance, Probe, StartRequest, Swept,
};
use vulcan_host::{launcher::Program, memfd::sealed_executable};
use vulcan_slots::{Guest, Overhead, Pool, Prober, SlotOptions};

use crate::{Options, runtimes};

/// What launcher, agent and kernel need.
const OVERHEAD: Overhead = Overhead {
    bytes: 4 * 1024 * 1024,
    pids: 2,
    pids_at_start: 0,
    cpus_at_start: 0,
    data_bytes: 0,
};
const ABILITIES: &[Ability] = &[Ability::Exec, Ability::Files];

/// The native sandbox.
pub struct Sandbox {
    capabilities: Capabilities,
    agent: OwnedFd,
    pool: Arc<Pool>,
    prober: Prober,
}

impl Sandbox {
    /// Makes the backend. Starts nothing; what the host lacks shows in [`Backend::probe`].
    ///
    /// # Errors
    ///
    /// When the embedded executables cannot be put into memory.
    pub fn new(options: Options) -> std::io::Result<Self> {
        Ok(Self {
            capabilities: Capabilities {
                isolation: IsolationClass::Sandbox,
                abilities: ABILITIES.to_vec(),
                readying: runtimes::readying(),
                root: vulcan_backend::RootForm::Own,
                outlives_server: false,
            },
            agent: sealed_executable("vulcan-guest-agent", AGENT)?,
            pool: Pool::new(slot_options(options))?,
            prober: Prober::default(),
        })
    }

    fn guest(&self, prepare: Option<Runtime>) -> Guest<'_> {
        Guest {
            program: Program::Descriptor(self.agent.as_fd()),
            abilities: ABILITIES,
            prepare,
            last_words: None,
            hears_signals: true,
            complaints: None,
            holds: None,
        }
    }
}

fn slot_options(options: Options) -> SlotOptions {
    SlotOptions {
        group: format!("vulcan-{}", options.owner),
        noun: "sandbox slots",
        outer_id_first: options.outer_id_first,
        slots_max: options.slots_max,
        slots_idle_max: options.slots_idle_max,
        slots_ready_min: options.slots_ready_min,
        readable: options.readable,
        start_deadline: options.start_deadline,
        open_files_max: options.open_files_max,
        inodes_per_mb: options.inodes_per_mb,
        overhead: OVERHEAD,
        bundle_ids: None,
    }
}

#[async_trait]
impl Backend for Sandbox {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn probe(&self) -> Probe {
        let ask = async {
            let trial = self.pool.start(Resources::default(), self.guest(None));
            let (started, runtimes) = tokio::join!(trial, detect_runtimes());
            let readiness = self.pool.judge(started).await;
            Probe { readiness, runtimes }
        };
        self.prober.probe(ask).await
    }

    async fn start(&self, request: StartRequest) -> Result<Arc<dyn Instance>, BackendError> {
        request.refuse_open_network(self.capabilities.isolation)?;
        let started = self.pool.start(request.resources, self.guest(request.prepare));
        started
            .await
            .map(|instance| Arc::new(instance) as Arc<dyn Instance>)
    }

    async fn adopt(&self, _id: &InstanceId) -> Result<Option<Arc<dyn Instance>>, BackendError> {
        // A sandbox ends with its launcher, and a launcher with its server.
        Ok(None)
    }

    async fn sweep(&self, _keep: &[InstanceId]) -> Result<Swept, BackendError> {
        self.pool.sweep().await
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

async fn detect_runtimes() -> Vec<RuntimeInfo> {
    // Each asks an interpreter for its version.
    tokio::task::spawn_blocking(runtimes::detect)
        .await
        .unwrap_or_default()
}
