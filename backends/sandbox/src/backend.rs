//! The backend.

use std::{
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream as StdUnixStream,
    },
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use tokio::net::UnixStream;
use vulcan_api::{InstanceId, IsolationClass, Resources};
use vulcan_backend::{
    AGENT, Ability, Backend, BackendError, Capabilities, GuestClient, Instance, Probe, StartRequest, Swept,
};
use vulcan_host::{
    ProcessLimits,
    cgroup::{Limits, Tree},
    launcher::Launch,
    memfd::sealed_executable,
};

use crate::{
    Options,
    instance::SandboxInstance,
    pool::{Pool, start_failed},
    probe::Prober,
    slot::SlotPlan,
};

const LAUNCHER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vulcan-launcher"));
const MIB: u64 = 1024 * 1024;
/// What launcher, agent and kernel need of a cgroup's memory; given on top of the workload's own.
const OVERHEAD_BYTES: u64 = 4 * MIB;
/// The launcher and the agent count too.
const OVERHEAD_PIDS: u32 = 2;

/// The native sandbox.
pub struct Sandbox {
    capabilities: Capabilities,
    options: Options,
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
        let is_root = rustix::process::geteuid().is_root();
        let tree = Tree::open(&format!("vulcan-{}", options.owner));
        let plan = SlotPlan {
            launcher: sealed_executable("vulcan-launcher", LAUNCHER)?,
            readable: options.readable.clone(),
            outer_id_first: is_root.then_some(options.outer_id_first),
            first: launch(&options, &Resources::default(), tree.limits_memory()),
            tree,
        };
        Ok(Self {
            capabilities: Capabilities {
                isolation: IsolationClass::Sandbox,
                abilities: vec![Ability::Exec, Ability::Files],
            },
            agent: sealed_executable("vulcan-guest-agent", AGENT)?,
            pool: Arc::new(Pool::new(plan, &options)),
            prober: Prober::default(),
            options,
        })
    }

    async fn start_instance(&self, resources: Resources) -> Result<SandboxInstance, BackendError> {
        let failed = |step: &str, source| BackendError::StartFailed {
            step: step.to_owned(),
            source: Some(source),
        };
        let mut lease = self.pool.lease().await?;
        lease
            .begin(&limits(&resources))
            .map_err(|error| failed("set the cgroup's limits", error))?;
        let (ours, theirs) = StdUnixStream::pair().map_err(|error| failed("make a socket pair", error))?;
        ours.set_nonblocking(true)
            .map_err(|error| failed("set up the socket", error))?;
        let ours = UnixStream::from_std(ours).map_err(|error| failed("set up the socket", error))?;
        let launch = launch(&self.options, &resources, self.tree().limits_memory());
        // The host's half of the handshake waits in the socket while the guest starts.
        let launching = async {
            lease
                .launch(launch, self.agent.as_fd(), theirs.into())
                .await
                .map_err(start_failed)
        };
        let (launched, client) =
            tokio::join!(launching, GuestClient::connect(ours, self.options.start_deadline));
        // Both end when one fails, and the launcher is the one that knows why.
        let (launched, client) = (launched?, client?);
        SandboxInstance::new(client, launched, lease, resources)
            .map_err(|error| failed("watch the instance", error))
    }
}

fn launch(options: &Options, resources: &Resources, has_memory_group: bool) -> Launch {
    let scratch_bytes = u64::from(resources.disk_mb) * MIB;
    Launch {
        hostname: "vulcan".to_owned(),
        scratch_bytes,
        scratch_inodes: u64::from(resources.disk_mb) * options.inodes_per_mb,
        limits: ProcessLimits {
            open_files: options.open_files_max,
            file_bytes: scratch_bytes,
            processes: u64::from(resources.pids + OVERHEAD_PIDS),
            data_bytes: (!has_memory_group).then_some(u64::from(resources.mem_mb) * MIB),
        },
    }
}

fn limits(resources: &Resources) -> Limits {
    Limits {
        memory_bytes: u64::from(resources.mem_mb) * MIB + OVERHEAD_BYTES,
        cpus: resources.cpus,
        pids: resources.pids + OVERHEAD_PIDS,
    }
}

#[async_trait]
impl Backend for Sandbox {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn probe(&self) -> Probe {
        self.prober.probe(self).await
    }

    async fn start(&self, request: StartRequest) -> Result<Arc<dyn Instance>, BackendError> {
        request.refuse_open_network(self.capabilities.isolation)?;
        let limit = self.options.start_deadline;
        tokio::time::timeout(limit, self.start_instance(request.resources))
            .await
            .map_err(|_| BackendError::Deadline {
                step: "starting a sandbox",
                limit,
            })?
            .map(|instance| Arc::new(instance) as Arc<dyn Instance>)
    }

    async fn adopt(&self, _id: &InstanceId) -> Result<Option<Arc<dyn Instance>>, BackendError> {
        // A sandbox ends with its launcher, and a launcher with its server.
        Ok(None)
    }

    async fn sweep(&self, _keep: &[InstanceId]) -> Result<Swept, BackendError> {
        let pool = Arc::clone(&self.pool);
        let swept = tokio::task::spawn_blocking(move || pool.plan().tree.sweep())
            .await
            .map_err(|_| BackendError::Stopped)?
            .map_err(|source| BackendError::SweepFailed {
                what: "cgroups".to_owned(),
                source,
            })?;
        let with_processes = swept.values().filter(|processes| **processes > 0).count();
        Ok(Swept {
            instances: u32::try_from(with_processes).unwrap_or(u32::MAX),
            removed: swept.into_keys().map(|name| format!("cgroup {name}")).collect(),
        })
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

impl Sandbox {
    /// Starts an instance and stops it: the only proof that it can be done.
    pub(crate) async fn try_out(&self) -> Result<i32, BackendError> {
        let limit = self.options.start_deadline;
        let instance = tokio::time::timeout(limit, self.start_instance(Resources::default()))
            .await
            .map_err(|_| BackendError::Deadline {
                step: "starting a sandbox",
                limit,
            })??;
        let abi = instance.landlock_abi().await;
        instance.stop(Duration::ZERO).await?;
        Ok(abi)
    }

    pub(crate) fn tree(&self) -> &Tree {
        &self.pool.plan().tree
    }
}
