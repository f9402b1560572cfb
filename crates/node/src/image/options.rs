//! What an operator says of the image store.

use std::{collections::BTreeMap, path::PathBuf};

use vulcan_api::{ImageName, RegistryCredentials, Runtime};

use super::BuildOptions;

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
    /// What steps of builds may take.
    pub build: BuildOptions,
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
            build: BuildOptions::default(),
        }
    }
}
