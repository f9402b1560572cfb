//! The reports on the node as a whole.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::time::{Instant, sleep_until, timeout};
use vulcan_api::{BackendInfo, NodeCapacity, NodeInfo, Readiness};
use vulcan_backend::{Backend, Probe, RootForm};
use vulcan_bus::NodeStatus;

use crate::{host, node::Node};

/// How long a backend may look at the host.
const PROBE_DEADLINE: Duration = Duration::from_secs(10);

/// The least pause between two looks at the backends, however many starts fail.
const LOOK_PAUSE: Duration = Duration::from_millis(250);

/// Reports the node at once, at every change of its backends, and every few seconds, for as long as it is polled.
pub(crate) async fn report(node: Arc<Node>, mut backends: Vec<BackendInfo>) {
    let mut looked_at = Instant::now();
    let mut is_asked = false;
    loop {
        let status = status(&node, backends.clone());
        let was_ready = status.node.ready;
        node.outbox.tell_status(status).await;
        node.told.send_replace(());
        let report_at = Instant::now() + node.intervals.status;
        // Looks until something has changed or the next report is due.
        loop {
            let pause = if is_asked {
                LOOK_PAUSE
            } else {
                node.intervals.probe
            };
            tokio::select! {
                () = sleep_until(report_at) => break,
                () = sleep_until(looked_at + pause) => {
                    is_asked = false;
                    looked_at = Instant::now();
                    let seen = look(&node).await;
                    if seen != backends {
                        node.pool.offered(&seen, &node.default_roots().await);
                        backends = seen;
                        break;
                    }
                    node.told.send_replace(());
                }
                () = node.look.notified() => is_asked = true,
                () = node.drain_began.cancelled(), if was_ready => break,
            }
        }
    }
}

/// Looks at all backends at once.
pub(crate) async fn look(node: &Node) -> Vec<BackendInfo> {
    let mut seen = join_all(node.backends.values().map(|backend| info(node, backend.as_ref()))).await;
    seen.sort_by_key(|info| info.isolation.strength());
    seen
}

async fn info(node: &Node, backend: &dyn Backend) -> BackendInfo {
    let silent = || {
        let reasons = vec![format!("it did not answer within {PROBE_DEADLINE:?}")];
        Probe {
            readiness: Readiness::Unfit { reasons },
            runtimes: Vec::new(),
        }
    };
    let probe = timeout(PROBE_DEADLINE, backend.probe())
        .await
        .unwrap_or_else(|_| silent());
    let capabilities = backend.capabilities();
    BackendInfo {
        pools: Vec::new(),
        isolation: capabilities.isolation,
        node: node.name.clone(),
        readiness: probe.readiness,
        runtimes: match capabilities.root {
            RootForm::Own => probe.runtimes,
            RootForm::Layers => node.runtimes_on_images(probe.runtimes),
        },
        abilities: capabilities
            .abilities
            .iter()
            .map(|ability| ability.as_str().to_owned())
            .collect(),
    }
}

fn status(node: &Node, mut backends: Vec<BackendInfo>) -> NodeStatus {
    for backend in &mut backends {
        backend.pools = node.pool.infos(backend.isolation);
    }
    let (used, workloads) = node.census();
    let is_usable = backends.iter().any(|backend| backend.readiness.is_usable());
    let info = NodeInfo {
        name: node.name.clone(),
        ready: is_usable && !node.drain_began.is_cancelled(),
        kernel: host::kernel(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        capacity: NodeCapacity {
            cpus: host::cpus(),
            mem_mb: node.capacity.mem_mb,
            mem_used_mb: used.mem_mb,
            instances_max: node.capacity.instances_max,
            instances: used.instances,
        },
        seen_at: node.clock.now(),
        started_at: node.started_at,
    };
    NodeStatus {
        node: info,
        backends,
        workloads,
    }
}
