//! The backend.

use std::{fs::File, io, os::fd::AsFd, sync::Arc};

use async_trait::async_trait;
use rustix::fs::{MemfdFlags, memfd_create};
use tokio::sync::OnceCell;
use vulcan_api::{InstanceId, IsolationClass, Readiness, Resources, Runtime, RuntimeInfo};
use vulcan_backend::{
    Backend, BackendError, Capabilities, Instance, Probe, Readying, RootForm, StartRequest, Swept,
};
use vulcan_host::launcher::Program;
use vulcan_slots::{Guest, LastWords, Pool, Prober, SlotInstance, SlotOptions};

use crate::{Options, command, deno::Deno};

/// The runtimes; one blank instance serves both.
const RUNTIMES: [Runtime; 2] = [Runtime::Node, Runtime::Typescript];

/// Deno processes without permissions.
pub struct Isolate {
    capabilities: Capabilities,
    options: Options,
    pool: Arc<Pool>,
    /// Set as soon as Deno was found.
    deno: OnceCell<Deno>,
    prober: Prober,
}

impl Isolate {
    /// Makes the backend. Starts nothing; what the host lacks, Deno for example, shows in [`Backend::probe`].
    ///
    /// # Errors
    ///
    /// When the launcher's executable cannot be put into memory.
    pub fn new(options: Options) -> io::Result<Self> {
        let readying = RUNTIMES.map(|runtime| Readying {
            runtime,
            blank: Some(Runtime::Node),
            warm: true,
            forked: false,
        });
        Ok(Self {
            capabilities: Capabilities {
                isolation: IsolationClass::Isolate,
                abilities: Vec::new(),
                readying: readying.to_vec(),
                root: RootForm::Own,
                outlives_server: false,
            },
            pool: Pool::new(slot_options(&options))?,
            options,
            deno: OnceCell::new(),
            prober: Prober::default(),
        })
    }

    /// Finds Deno, if it was not found already. One that is installed later is found then.
    async fn deno(&self) -> Result<&Deno, String> {
        let find = || async {
            let options = self.options.clone();
            let deno = tokio::task::spawn_blocking(move || Deno::find(&options))
                .await
                .map_err(|error| error.to_string())??;
            self.pool.furnish(deno.view.clone());
            Ok(deno)
        };
        self.deno.get_or_try_init(find).await
    }

    async fn start_instance(
        &self,
        resources: Resources,
        prepare: Option<Runtime>,
    ) -> Result<SlotInstance, BackendError> {
        self.deno().await.map_err(|reason| BackendError::Unfit {
            isolation: self.capabilities.isolation,
            reason,
        })?;
        let stderr = last_words().map_err(|source| BackendError::StartFailed {
            step: "make a file in memory".to_owned(),
            source: Some(source),
        })?;
        let theirs = stderr.try_clone().map_err(|source| BackendError::StartFailed {
            step: "share a file in memory".to_owned(),
            source: Some(source),
        })?;
        let program = Program::Command {
            command: command::command(&resources)?,
            stderr: theirs.as_fd(),
        };
        self.pool.start(resources, guest(program, stderr, prepare)).await
    }

    async fn readiness(&self) -> Readiness {
        let started = self.start_instance(Resources::default(), None).await;
        self.pool.judge(started).await
    }

    async fn runtimes(&self) -> Vec<RuntimeInfo> {
        let found = self.deno().await;
        let info = |runtime| RuntimeInfo {
            runtime,
            available: found.is_ok(),
            detail: match &found {
                Ok(deno) => format!("Deno {}", deno.version),
                Err(reason) => reason.clone(),
            },
            packages: if found.is_ok() {
                Vec::new()
            } else {
                vec!["npm:deno".to_owned()]
            },
        };
        RUNTIMES.map(info).to_vec()
    }
}

fn guest(program: Program<'_>, stderr: File, prepare: Option<Runtime>) -> Guest<'_> {
    Guest {
        program,
        abilities: &[],
        prepare,
        last_words: Some(LastWords {
            file: stderr,
            tell_of_memory: command::tell_of_memory,
        }),
        hears_signals: false,
        complaints: None,
        holds: None,
    }
}

fn last_words() -> io::Result<File> {
    Ok(File::from(memfd_create("stderr", MemfdFlags::CLOEXEC)?))
}

fn slot_options(options: &Options) -> SlotOptions {
    SlotOptions {
        group: format!("vulcan-isolate-{}", options.owner),
        noun: "isolate slots",
        outer_id_first: options.outer_id_first,
        slots_max: options.slots_max,
        slots_idle_max: options.slots_idle_max,
        slots_ready_min: options.slots_ready_min,
        readable: Vec::new(),
        start_deadline: options.start_deadline,
        open_files_max: options.open_files_max,
        inodes_per_mb: options.inodes_per_mb,
        overhead: command::OVERHEAD,
        bundle_ids: None,
    }
}

#[async_trait]
impl Backend for Isolate {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn probe(&self) -> Probe {
        let ask = async {
            Probe {
                readiness: self.readiness().await,
                runtimes: self.runtimes().await,
            }
        };
        self.prober.probe(ask).await
    }

    async fn start(&self, request: StartRequest) -> Result<Arc<dyn Instance>, BackendError> {
        request.refuse_open_network(self.capabilities.isolation)?;
        let started = self.start_instance(request.resources, request.prepare);
        started
            .await
            .map(|instance| Arc::new(instance) as Arc<dyn Instance>)
    }

    async fn adopt(&self, _id: &InstanceId) -> Result<Option<Arc<dyn Instance>>, BackendError> {
        // An isolate ends with its launcher, and a launcher with its server.
        Ok(None)
    }

    async fn sweep(&self, _keep: &[InstanceId]) -> Result<Swept, BackendError> {
        self.pool.sweep().await
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}
