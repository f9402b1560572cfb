//! Images: had from registries, archives and builds; kept as blobs and unpacked layers; lent to instances as roots.
//!
//! ```text
//! registry ──▶ blobs (by digest, verified) ──unpack, once each──▶ layers (folders) ──▶ Root: what an instance stands on
//! archive  ──▶                                                       ▲
//! build, bootstrap ── a folder of changes ───────────────────────────┘
//! ```
//!
//! Owns the folder of the store and everything in it. Refuses to know how an instance uses a root.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use tokio::sync::mpsc;
use vulcan_api::{
    Clock, Image, ImageConfig, ImageEvent, ImageName, NodeName, Problem, ProblemKind, RegistryCredentials,
    Runtime,
};
use vulcan_backend::{Backend, Root};
use vulcan_bus::{ImageCommand, ImageResult};

/// How images are had and kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageOptions {
    /// What the store may take on disk, in bytes; images that nobody uses go when it is exceeded, the least recently used first.
    pub disk_bytes_max: u64,
    /// The most bytes of one unpacked layer, and of all layers of one image.
    pub unpacked_bytes_max: u64,
    /// The most files, folders and links of one layer.
    pub entries_max: u64,
    /// How many blobs are pulled at once.
    pub pulls_at_once: usize,
    /// How long a registry may say nothing before the connection counts as stalled, in seconds.
    pub stall_s: u64,
    /// How often a blob whose connection broke is taken up again where it stopped.
    pub attempts_max: u32,
    /// Registries (`host:port`) that are asked in plain HTTP; those on loopback always may be.
    pub plain_http: Vec<String>,
    /// Whom to pull as, by registry; before what Docker's configuration file says.
    pub credentials: BTreeMap<String, RegistryCredentials>,
    /// Docker's configuration file, `~/.docker/config.json`; not read where it is `None`.
    pub docker_config: Option<PathBuf>,
    /// The image that a runtime's programs stand on where they name none, by the runtime's name on the wire.
    pub defaults: BTreeMap<String, ImageName>,
}

impl Default for ImageOptions {
    fn default() -> Self {
        let own = |name: &str| name.parse().expect("the platform's own names are names");
        Self {
            disk_bytes_max: 20 << 30,
            unpacked_bytes_max: 8 << 30,
            entries_max: 1_000_000,
            pulls_at_once: 4,
            stall_s: 30,
            attempts_max: 5,
            plain_http: Vec::new(),
            credentials: BTreeMap::new(),
            docker_config: None,
            defaults: [
                (Runtime::Python, "vulcan/python"),
                (Runtime::Node, "vulcan/node"),
                (Runtime::Typescript, "vulcan/node"),
                (Runtime::Bash, "vulcan/minimal"),
                (Runtime::Go, "vulcan/go"),
                (Runtime::Binary, "vulcan/minimal"),
            ]
            .map(|(runtime, name)| (runtime.as_str().to_owned(), own(name)))
            .into(),
        }
    }
}

/// An image that was asked for, ready to be stood on.
#[derive(Debug, Clone)]
pub(crate) struct Ready {
    /// Its layers; the image stays for as long as anybody holds it.
    pub(crate) root: Arc<Root>,
    /// What it says of its program.
    pub(crate) config: ImageConfig,
}

/// What the store is made with.
pub(crate) struct Setup {
    pub(crate) folder: PathBuf,
    pub(crate) options: ImageOptions,
    pub(crate) node: NodeName,
    pub(crate) clock: Arc<dyn Clock>,
    /// Where steps of builds run: classes that take a root, the preferred one first.
    pub(crate) builders: Vec<Arc<dyn Backend>>,
}

/// The images of a node.
pub(crate) struct Images {
    setup: Setup,
}

impl Images {
    /// Opens the store, and removes what a former process left half made.
    ///
    /// # Errors
    ///
    /// When its folder cannot be made or read.
    pub(crate) fn open(setup: Setup) -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Self { setup }))
    }

    /// Carries out a command; whoever asked may be gone, and then the answer is nobody's.
    pub(crate) async fn obey(self: Arc<Self>, command: ImageCommand) {
        drop(command);
    }

    /// Has an image ready; pulls it where it is not here and not the platform's own. May be dropped at any time.
    ///
    /// # Errors
    ///
    /// A problem for the owner of the workload.
    pub(crate) async fn ready(self: &Arc<Self>, name: &ImageName) -> ImageResult<Ready> {
        Err(Box::new(Problem::new(
            ProblemKind::ImageNotFound,
            format!("{name} is not here"),
        )))
    }

    /// Returns what programs of a runtime stand on where they name no image.
    pub(crate) fn default_of(&self, runtime: Runtime) -> Option<&ImageName> {
        self.setup.options.defaults.get(runtime.as_str())
    }

    /// Returns an image that is here, without asking anybody, and notes no use.
    pub(crate) fn find(&self, name: &ImageName) -> Option<Image> {
        let _ = (name, &self.setup);
        None
    }
}

/// Where the events of a making go. Whoever listens may be gone, which is no error.
pub(crate) type Events = mpsc::Sender<ImageEvent>;
