//! The whole platform in one process: backends, node, control plane, listener.
//!
//! ```text
//! start: listen ──▶ node (takes the data directory, adopts, sweeps) ──▶ control plane (takes up its records) ──▶ serve
//! end:   drain | abort ──▶ join: stop serving ──▶ close the control plane ──▶ end the node
//! ```

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
    time::Duration,
};

use axum::serve::ListenerExt;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::watch,
};
use vulcan_api::NodeName;
use vulcan_backend::Backend;
use vulcan_client::{Client, Endpoint};

use crate::{
    backends,
    config::{Config, stable_hash},
    paths,
};

/// How long the control plane may take to close once nothing runs.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);
/// How long the ends of aborted workloads may take.
const ABORT_LIMIT: Duration = Duration::from_secs(10);
/// How long open requests may take to end once the server stops serving.
const SERVE_LIMIT: Duration = Duration::from_secs(12);
/// How long to wait for what became of unfinished workloads before the start is reported.
const RECOVERY_LIMIT: Duration = Duration::from_secs(10);

/// Where a platform listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// On TCP. Only loopback is accepted until there is authentication; port 0 takes a free one.
    Tcp(SocketAddr),
    /// On a socket file, which must not exist yet; its folder says who may connect.
    Unix(PathBuf),
}

impl Listen {
    /// Reads HOST:PORT; `localhost` is 127.0.0.1.
    ///
    /// # Errors
    ///
    /// [`PlatformError::Address`] when it is no address, [`PlatformError::Exposed`] when it is not on loopback.
    pub fn parse(text: &str) -> Result<Self, PlatformError> {
        let literal = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        };
        let address: SocketAddr = literal.parse().map_err(|_| PlatformError::Address {
            value: text.to_owned(),
        })?;
        let listen = Self::Tcp(address);
        listen.refuse_exposed()?;
        Ok(listen)
    }

    /// Whoever reaches the API may run code: until there is authentication, only this machine may.
    fn refuse_exposed(&self) -> Result<(), PlatformError> {
        match self {
            Self::Tcp(address) if !is_loopback(address.ip()) => {
                Err(PlatformError::Exposed { address: *address })
            }
            Self::Tcp(_) | Self::Unix(_) => Ok(()),
        }
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// How a platform is started.
#[derive(Clone)]
pub struct PlatformOptions {
    /// Every setting.
    pub config: Config,
    /// Where records and logs are kept; made with mode 0700 where it is missing.
    pub data_dir: PathBuf,
    /// Where what can be made again is kept.
    pub cache_dir: PathBuf,
    /// Where to listen.
    pub listen: Listen,
    /// What tells this platform's leftovers on the host from those of any other; `None` derives it from `data_dir`.
    pub owner: Option<String>,
    /// What to isolate with; `None` takes every backend there is.
    pub backends: Option<Vec<Arc<dyn Backend>>>,
}

impl PlatformOptions {
    /// Returns options with every default.
    #[must_use]
    pub fn new(data_dir: PathBuf, cache_dir: PathBuf, listen: Listen) -> Self {
        Self {
            config: Config::default(),
            data_dir,
            cache_dir,
            listen,
            owner: None,
            backends: None,
        }
    }
}

/// Why a platform could not be started; nothing of it runs. The text reads after "could not start the server: ".
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// The address is none.
    #[error("'{value}' is not an address to listen on")]
    Address {
        /// What was given.
        value: String,
    },
    /// Others than this machine could reach the server.
    #[error(
        "{address} can be reached from other machines, and there is no authentication yet: whoever reaches the server may run code"
    )]
    Exposed {
        /// What was given.
        address: SocketAddr,
    },
    /// Something else listens there.
    #[error("something else listens on {address} already")]
    AddressInUse {
        /// Where.
        address: String,
    },
    /// The address cannot be had.
    #[error("could not listen on {address}")]
    Bind {
        /// Where.
        address: String,
        /// The operating system's word.
        #[source]
        source: io::Error,
    },
    /// A folder cannot be used.
    #[error("the folder {} cannot be used", .path.display())]
    Directory {
        /// Which one.
        path: PathBuf,
        /// The operating system's word.
        #[source]
        source: io::Error,
    },
    /// A backend cannot be set up.
    #[error("the backends could not be set up")]
    Backends {
        /// The operating system's word.
        #[source]
        source: io::Error,
    },
    /// The node cannot start.
    #[error("the node could not start")]
    Node {
        /// Why.
        #[source]
        source: vulcan_node::Error,
        /// Whether the disk has no room left.
        is_disk_full: bool,
    },
    /// The control plane cannot start.
    #[error("the control plane could not start")]
    Control {
        /// Why.
        #[source]
        source: vulcan_control::Error,
        /// Whether the disk has no room left.
        is_disk_full: bool,
    },
}

impl PlatformError {
    /// Returns whether the input is at fault, and not the machine.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::Address { .. } | Self::Exposed { .. })
    }

    /// Returns what to do about it, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Address { .. } => "write HOST:PORT, for example --listen 127.0.0.1:7070",
            Self::Exposed { .. } => {
                "listen on 127.0.0.1, and reach it from elsewhere through SSH: ssh -L 7070:127.0.0.1:7070 HOST"
            }
            Self::AddressInUse { .. } => "take a free port: --listen 127.0.0.1:0",
            Self::Directory { .. } => "choose other folders: --data-dir DIR, VULCAN_CACHE_DIR=DIR",
            Self::Node {
                is_disk_full: true, ..
            }
            | Self::Control {
                is_disk_full: true, ..
            } => "the disk is full: make room, or choose another --data-dir",
            Self::Node { .. } | Self::Control { .. } | Self::Bind { .. } | Self::Backends { .. } => {
                return None;
            }
        };
        Some(hint.to_owned())
    }
}

/// What a start found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Where the platform listens.
    pub endpoint: Endpoint,
    /// The node's name.
    pub node: NodeName,
    /// What the node adopted, ended and swept, one line each; empty where nothing was left over.
    pub swept: Vec<String>,
    /// What became of the workloads that a former run left unfinished, one line each.
    pub unfinished: Vec<String>,
}

/// A running platform. It goes on until [`Platform::join`]; dropping it instead leaves instances to the next start's sweep.
pub struct Platform {
    summary: Summary,
    client: Client,
    control: vulcan_control::Handle,
    node: vulcan_node::Handle,
    serving: tokio::task::JoinHandle<io::Result<()>>,
    stop_serving: watch::Sender<bool>,
}

impl Platform {
    /// Starts everything, and returns once it serves.
    ///
    /// # Errors
    ///
    /// [`PlatformError`]; nothing runs then, and the data directory is free.
    pub async fn start(options: PlatformOptions) -> Result<Self, PlatformError> {
        options.listen.refuse_exposed()?;
        for path in [&options.data_dir, &options.cache_dir] {
            paths::create_private(path).map_err(|source| PlatformError::Directory {
                path: path.clone(),
                source,
            })?;
        }
        let listener = Listener::bind(&options.listen).await?;
        let endpoint = listener.endpoint()?;
        let client = Client::new(endpoint.clone()).map_err(|error| PlatformError::Bind {
            address: endpoint.to_string(),
            source: io::Error::other(error),
        })?;
        let (control, node) = start_rooms(&options).await?;
        let (stop_serving, stopped) = watch::channel(false);
        let serving = tokio::spawn(listener.serve(control.clone(), stopped));
        let summary = Summary {
            endpoint,
            node: node_name(&options.config),
            swept: node.recovery().lines(),
            unfinished: unfinished_lines(&control).await,
        };
        Ok(Self {
            summary,
            client,
            control,
            node,
            serving,
            stop_serving,
        })
    }

    /// Returns what the start found and did.
    #[must_use]
    pub const fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Returns where the platform listens.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.summary.endpoint
    }

    /// Returns a client of this platform.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Returns how many workloads are unfinished.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.control.unfinished()
    }

    /// Takes no more workloads, and waits until none is unfinished: as long as their own limits allow. Cancel-safe.
    pub async fn drain(&self) {
        self.control.drain();
        self.control.idle().await;
    }

    /// Stops every workload, and waits a moment for their ends. What waits in the queue stays for the next start.
    pub async fn abort(&self) {
        self.control.abort().await;
        self.node.abort().await;
        // What survives a restart does not end, so the wait does not end by itself either.
        tokio::time::timeout(ABORT_LIMIT, self.control.idle()).await.ok();
    }

    /// Ends everything: stops serving, closes the records, and ends the node with whatever still runs there. Drain or
    /// abort before. Returns whether all of it ended in time and well.
    pub async fn join(self) -> bool {
        self.stop_serving.send_replace(true);
        self.node.drain().await;
        // Ends the long answers, logs and waits, that keep connections open.
        let has_closed = self.control.close(CLOSE_LIMIT).await;
        let mut serving = self.serving;
        let has_served = matches!(
            tokio::time::timeout(SERVE_LIMIT, &mut serving).await,
            Ok(Ok(Ok(())))
        );
        serving.abort();
        self.node.join().await;
        has_served && has_closed
    }
}

/// Starts node and control plane. The node comes first: it takes the lock of the data directory.
async fn start_rooms(
    options: &PlatformOptions,
) -> Result<(vulcan_control::Handle, vulcan_node::Handle), PlatformError> {
    let config = &options.config;
    let backends = match &options.backends {
        Some(backends) => backends.clone(),
        None => {
            backends::all(config, &owner(options)).map_err(|source| PlatformError::Backends { source })?
        }
    };
    let registry = vulcan_control::new_registry();
    let metrics = {
        let mut registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
        vulcan_node::Metrics::register(&mut registry)
    };
    let (control_end, node_end) = vulcan_bus::local();
    let mut node_options = config.node_options(
        node_name(config),
        options.data_dir.clone(),
        options.cache_dir.clone(),
        metrics,
    );
    node_options.backends = backends;
    let node = vulcan_node::start(node_options, node_end)
        .await
        .map_err(|source| PlatformError::Node {
            source,
            is_disk_full: is_disk_full(&options.data_dir),
        })?;
    let control_options = config.control_options(options.data_dir.clone());
    match vulcan_control::start(control_options, control_end, registry).await {
        Ok(control) => Ok((control, node)),
        Err(source) => {
            node.join().await;
            Err(PlatformError::Control {
                source,
                is_disk_full: is_disk_full(&options.data_dir),
            })
        }
    }
}

async fn unfinished_lines(control: &vulcan_control::Handle) -> Vec<String> {
    let Ok(recovery) = tokio::time::timeout(RECOVERY_LIMIT, control.recovery()).await else {
        return vec!["what became of unfinished workloads is not known yet".to_owned()];
    };
    [
        (recovery.requeued, "unfinished workloads are placed again"),
        (
            recovery.ended,
            "unfinished workloads ended as failed: node_restarted",
        ),
        (recovery.kept, "unfinished workloads are known to their node"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect()
}

/// Returns the name from the configuration, otherwise the host's, otherwise `node`.
pub(crate) fn node_name(config: &Config) -> NodeName {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    config
        .node_name()
        .or_else(|| host.parse().ok())
        .unwrap_or_else(|| "node".parse().expect("four letters are a name"))
}

fn owner(options: &PlatformOptions) -> String {
    options.owner.clone().unwrap_or_else(|| {
        let path = std::fs::canonicalize(&options.data_dir).unwrap_or_else(|_| options.data_dir.clone());
        format!("{:016x}", stable_hash(&path.to_string_lossy()))
    })
}

fn is_disk_full(folder: &Path) -> bool {
    const NEEDED_BYTES: u64 = 1 << 20;
    rustix::fs::statvfs(folder).is_ok_and(|stat| stat.f_bavail * stat.f_frsize < NEEDED_BYTES)
}

/// A bound listener of either kind.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Listener {
    async fn bind(listen: &Listen) -> Result<Self, PlatformError> {
        match listen {
            Listen::Tcp(address) => TcpListener::bind(address)
                .await
                .map(Self::Tcp)
                .map_err(|source| bind_error(address.to_string(), source)),
            Listen::Unix(path) => UnixListener::bind(path)
                .map(|listener| Self::Unix(listener, path.clone()))
                .map_err(|source| bind_error(path.display().to_string(), source)),
        }
    }

    fn endpoint(&self) -> Result<Endpoint, PlatformError> {
        match self {
            Self::Unix(_, path) => Ok(Endpoint::Unix(path.clone())),
            Self::Tcp(listener) => {
                let address = listener.local_addr();
                let address = address.map_err(|source| bind_error("the address".to_owned(), source))?;
                Ok(format!("http://{address}")
                    .parse()
                    .expect("an address makes a URL"))
            }
        }
    }

    async fn serve(self, control: vulcan_control::Handle, stopped: watch::Receiver<bool>) -> io::Result<()> {
        let router = vulcan_control::router(&control);
        let until = async move {
            let mut stopped = stopped;
            // A sender that is gone is a stop too.
            drop(stopped.wait_for(|is_stopped| *is_stopped).await);
        };
        match self {
            Self::Tcp(listener) => {
                // Log lines are small writes: they are not to wait for each other.
                let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
                vulcan_control::serve(listener, router, until).await
            }
            Self::Unix(listener, path) => {
                let result = vulcan_control::serve(listener, router, until).await;
                std::fs::remove_file(path).ok();
                result
            }
        }
    }
}

fn bind_error(address: String, source: io::Error) -> PlatformError {
    if source.kind() == io::ErrorKind::AddrInUse {
        return PlatformError::AddressInUse { address };
    }
    PlatformError::Bind { address, source }
}
