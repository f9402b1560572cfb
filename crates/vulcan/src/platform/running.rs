//! Starting, draining and ending a platform.
//!
//! ```text
//! start: listen ──▶ node (takes the data directory, adopts, sweeps) ──▶ control plane (takes up its records) ──▶ serve
//! end:   drain | abort ──▶ join: close the control plane ──▶ stop serving ──▶ end the node
//! ```

use std::{io, path::Path, sync::PoisonError, time::Duration};

use tokio::sync::watch;
use vulcan_api::NodeName;
use vulcan_client::{Client, Endpoint};

use super::{PlatformError, PlatformOptions, listen::Listener};
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
        None => backends::all(config, &owner(options), &options.cache_dir)
            .map_err(|source| PlatformError::Backends { source })?,
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
