//! The backend of both classes.

use std::{error::Error as _, fs, io, os::fd::AsFd, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use rustix::fs::{MemfdFlags, memfd_create};
use tokio::sync::OnceCell;
use vulcan_api::{InstanceId, IsolationClass, Readiness, Resources, Runtime};
use vulcan_backend::{
    Ability, Backend, BackendError, Capabilities, Instance, Probe, Root, RootForm, StartRequest, Swept, Upper,
};
use vulcan_host::launcher::{Bundle, Placed, Program, ViewFile};
use vulcan_slots::{Guest, LastWords, Overhead, Pool, Prober, SlotInstance, SlotOptions, ViewParts};

use crate::{
    Options,
    configuration::{Terms, configuration},
    furniture::Furniture,
    launcher::{HOSTNAME, Launcher, lacking, of_containers, of_gvisor},
    root::{Parts, Quota},
    runtimes,
};

const ABILITIES: &[Ability] = &[Ability::Exec, Ability::Files];
const MIB: u64 = 1024 * 1024;
/// Processes and threads of a runtime while it starts an instance: those of runc and runsc are written in Go.
const PIDS_AT_START: u32 = 64;
/// Processors for as long: gVisor's start takes 0.1 s of them in several processes, and a group that has used up its share of
/// one stands still until its next 0.1 s.
const CPUS_AT_START: u32 = 4;

/// The kernel of the host: the agent, the keeper, and for a moment the runtime.
const CONTAINER: Defaults = Defaults {
    isolation: IsolationClass::Container,
    noun: "container slots",
    outer_id_first: 2_000_000_000,
    overhead_mb: 16,
    overhead_pids: 3,
};
/// gVisor's kernel lives in the instance, with threads of its own.
const GVISOR: Defaults = Defaults {
    isolation: IsolationClass::Gvisor,
    noun: "gvisor slots",
    // Behind those of containers; the last is below 2^31.
    outer_id_first: 2_067_108_864,
    overhead_mb: 96,
    overhead_pids: 160,
};

/// What a class has where the options say nothing.
struct Defaults {
    isolation: IsolationClass,
    noun: &'static str,
    outer_id_first: u32,
    overhead_mb: u32,
    overhead_pids: u32,
}

/// Instances of images, started by a container runtime.
pub struct Oci {
    capabilities: Capabilities,
    options: Options,
    launchers: Vec<Box<dyn Launcher>>,
    /// The number of the launcher that works here, as soon as one was seen to, and its configuration.
    chosen: OnceCell<Chosen>,
    furniture: Furniture,
    pool: Arc<Pool>,
    prober: Prober,
}

#[derive(Debug)]
struct Chosen {
    launcher: usize,
    configuration: String,
}

/// What of a request matters here.
struct Wanted {
    resources: Resources,
    prepare: Option<Runtime>,
    root: Option<Arc<Root>>,
    upper: Upper,
}

impl Oci {
    /// Makes the backend of class `container`. Starts nothing; what the host lacks shows in [`Backend::probe`].
    ///
    /// # Errors
    ///
    /// When the launcher's executable cannot be put into memory.
    pub fn container(options: Options) -> io::Result<Self> {
        let launchers = of_containers(&options);
        Self::new(options, &CONTAINER, launchers)
    }

    /// Makes the backend of class `gvisor`. Starts nothing; what the host lacks shows in [`Backend::probe`].
    ///
    /// # Errors
    ///
    /// When the launcher's executable cannot be put into memory.
    pub fn gvisor(options: Options) -> io::Result<Self> {
        let launchers = of_gvisor(&options);
        Self::new(options, &GVISOR, launchers)
    }

    fn new(options: Options, defaults: &Defaults, launchers: Vec<Box<dyn Launcher>>) -> io::Result<Self> {
        let group = format!("vulcan-{}-{}", options.owner, defaults.isolation);
        let furniture = Furniture::new(options.run_dir.join(&group));
        let pool = Pool::new(slot_options(&options, defaults, group, &launchers))?;
        Ok(Self {
            capabilities: Capabilities {
                isolation: defaults.isolation,
                abilities: ABILITIES.to_vec(),
                readying: runtimes::readying(),
                root: RootForm::Layers,
                outlives_server: false,
            },
            options,
            launchers,
            chosen: OnceCell::new(),
            furniture,
            pool,
            prober: Prober::default(),
        })
    }

    /// Returns the first launcher with which a trial succeeds.
    async fn chosen(&self) -> Result<&Chosen, BackendError> {
        self.chosen.get_or_try_init(|| self.choose()).await
    }

    async fn choose(&self) -> Result<Chosen, BackendError> {
        if !rustix::process::geteuid().is_root() {
            return Err(self.unfit(
                "the server does not run as root, which overlay mounts, user ids and control groups of instances need"
                    .to_owned(),
            ));
        }
        self.furniture
            .make()
            .map_err(|source| BackendError::StartFailed {
                step: format!("make the folder {}", self.furniture.path().display()),
                source: Some(source),
            })?;
        self.pool.furnish(view());
        let mut reasons = Vec::new();
        for (number, launcher) in self.launchers.iter().enumerate() {
            match self.try_launcher(number, launcher.as_ref()).await {
                Ok(chosen) => return Ok(chosen),
                Err(error @ (BackendError::Exhausted { .. } | BackendError::Stopped)) => return Err(error),
                Err(error) => reasons.push(format!("{}: {}", launcher.name(), with_causes(&error))),
            }
        }
        Err(self.unfit(reasons.join("; ")))
    }

    async fn try_launcher(&self, number: usize, launcher: &dyn Launcher) -> Result<Chosen, BackendError> {
        if !launcher.path().exists() {
            let missing = format!(
                "{} is not there: {}",
                launcher.path().display(),
                launcher.remedy()
            );
            return Err(self.unfit(missing));
        }
        let terms = Terms {
            kernel: launcher.kernel(),
            filter: launcher.filter(),
            id_count: self.options.ids_per_slot,
            open_files_max: self.options.open_files_max,
            extra_calls: &self.options.extra_calls,
        };
        let chosen = Chosen {
            launcher: number,
            configuration: configuration(&terms).map_err(|source| BackendError::StartFailed {
                step: "write the bundle's configuration".to_owned(),
                source: Some(source),
            })?,
        };
        let trial = self.start_on(&chosen, self.trial()).await?;
        trial.stop(Duration::ZERO).await?;
        Ok(chosen)
    }

    /// A start on an empty root: there is nothing in it but the agent.
    fn trial(&self) -> Wanted {
        let root = Root {
            digest: String::new(),
            layers: vec![self.furniture.empty()],
            lease: Box::new(()),
        };
        Wanted {
            resources: Resources::default(),
            prepare: None,
            root: Some(Arc::new(root)),
            upper: Upper::Memory,
        }
    }

    async fn start_on(&self, chosen: &Chosen, wanted: Wanted) -> Result<SlotInstance, BackendError> {
        let failed = |step: &str, source| BackendError::StartFailed {
            step: step.to_owned(),
            source,
        };
        let root = wanted
            .root
            .ok_or_else(|| failed("an instance of this class needs the layers of an image", None))?;
        let quota = Quota {
            disk_mb: wanted.resources.disk_mb,
            inodes_per_mb: self.options.inodes_per_mb,
        };
        let parts = Parts::take(root, &self.furniture, &wanted.upper, quota)?;
        let launcher = &self.launchers[chosen.launcher];
        let stderr = memfd_create("runtime-stderr", MemfdFlags::CLOEXEC)
            .map_err(|error| failed("make a file for the runtime's words", Some(error.into())))?;
        let words = fs::File::from(stderr);
        let stderr = words
            .try_clone()
            .map_err(|error| failed("share the file for the runtime's words", Some(error)))?;
        let bundle = Bundle {
            hostname: HOSTNAME.to_owned(),
            runtime: launcher.command(),
            config: chosen.configuration.clone(),
            upper: parts.upper,
            hidden: launcher.hidden().iter().map(|path| (*path).to_owned()).collect(),
        };
        let guest = Guest {
            program: Program::Bundle {
                bundle,
                stderr: stderr.as_fd(),
                mounts: &parts.mounts,
            },
            abilities: ABILITIES,
            prepare: wanted
                .prepare
                .filter(|runtime| runtimes::has_interpreter(*runtime)),
            last_words: None,
            hears_signals: true,
            complaints: Some(LastWords {
                file: words,
                tell_of_memory: |_| false,
            }),
            holds: Some(Box::new(parts.holds)),
        };
        self.pool.start(wanted.resources, guest).await
    }

    fn unfit(&self, reason: String) -> BackendError {
        BackendError::Unfit {
            isolation: self.capabilities.isolation,
            reason,
        }
    }

    fn weaknesses(&self) -> Readiness {
        let mut reasons = self.pool.tree().missing().to_vec();
        if !self.pool.tree().limits_memory() {
            reasons.push("memory of instances is not limited, for want of a memory cgroup".to_owned());
        }
        if reasons.is_empty() {
            Readiness::Ready
        } else {
            Readiness::Degraded { reasons }
        }
    }
}

fn slot_options(
    options: &Options,
    defaults: &Defaults,
    group: String,
    launchers: &[Box<dyn Launcher>],
) -> SlotOptions {
    let in_every_view = |path: &PathBuf| path.starts_with("/usr") || !path.exists();
    let elsewhere = launchers.iter().map(|launcher| launcher.path().to_owned());
    SlotOptions {
        group,
        noun: defaults.noun,
        outer_id_first: options.outer_id_first.unwrap_or(defaults.outer_id_first),
        slots_max: options.slots_max,
        slots_idle_max: options.slots_idle_max,
        slots_ready_min: options.slots_ready_min,
        readable: elsewhere.filter(|path| !in_every_view(path)).collect(),
        start_deadline: options.start_deadline,
        open_files_max: options.open_files_max,
        inodes_per_mb: options.inodes_per_mb,
        overhead: Overhead {
            bytes: u64::from(options.overhead_mb.unwrap_or(defaults.overhead_mb)) * MIB,
            pids: defaults.overhead_pids,
            pids_at_start: PIDS_AT_START,
            cpus_at_start: CPUS_AT_START,
            data_bytes: 0,
        },
        bundle_ids: Some(options.ids_per_slot),
    }
}

/// What runtimes find beside what every view has: something that passes for control groups.
fn view() -> ViewParts {
    const GROUPS: &str = "/sys/fs/cgroup";
    let placed = |from: PathBuf, at: &str| Placed { from, at: at.into() };
    let is_version_2 = PathBuf::from(GROUPS).join("cgroup.controllers").exists();
    // Read-only like the rest of the view. runc wants to see the controller of devices; what it cannot write it lets be.
    let groups = if is_version_2 {
        placed(GROUPS.into(), GROUPS)
    } else {
        placed(PathBuf::from(GROUPS).join("devices"), "/sys/fs/cgroup/devices")
    };
    let marker = ViewFile {
        at: PathBuf::from(GROUPS).join("read-only"),
        text: String::new(),
    };
    ViewParts {
        placed: vec![groups],
        files: Vec::from_iter((!is_version_2).then_some(marker)),
    }
}

/// Returns an error and its cause in one line.
fn with_causes(error: &BackendError) -> String {
    match error {
        BackendError::Unfit { reason, .. } => reason.clone(),
        error => error
            .source()
            .map_or_else(|| error.to_string(), |source| format!("{error}: {source}")),
    }
}

#[async_trait]
impl Backend for Oci {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn probe(&self) -> Probe {
        let ask = async {
            let readiness = match self.chosen().await {
                Ok(_) => self.weaknesses(),
                Err(error) => Readiness::Unfit {
                    reasons: vec![with_causes(&error)],
                },
            };
            Probe {
                readiness,
                runtimes: runtimes::all(lacking(&self.launchers).as_ref()),
            }
        };
        self.prober.probe(ask).await
    }

    async fn start(&self, request: StartRequest) -> Result<Arc<dyn Instance>, BackendError> {
        request.refuse_open_network(self.capabilities.isolation)?;
        let chosen = self.chosen().await?;
        let wanted = Wanted {
            resources: request.resources,
            prepare: request.prepare,
            root: request.root,
            upper: request.upper,
        };
        let instance = self.start_on(chosen, wanted).await?;
        Ok(Arc::new(instance))
    }

    async fn adopt(&self, _id: &InstanceId) -> Result<Option<Arc<dyn Instance>>, BackendError> {
        // An instance ends with its keeper, a keeper with its launcher, and a launcher with its server.
        Ok(None)
    }

    async fn sweep(&self, _keep: &[InstanceId]) -> Result<Swept, BackendError> {
        let mut swept = self.pool.sweep().await?;
        let failed = |source| BackendError::SweepFailed {
            what: self.furniture.path().display().to_string(),
            source,
        };
        if self.chosen.get().is_none() && self.furniture.remove().map_err(failed)? {
            swept.removed.push(self.furniture.path().display().to_string());
        }
        Ok(swept)
    }

    async fn close(&self) {
        self.pool.close().await;
        if let Err(error) = self.furniture.remove() {
            tracing::warn!(error = %error, "the run folder could not be removed");
        }
    }
}
