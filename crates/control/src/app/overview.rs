//! Nodes, backends and counts.

use std::sync::atomic::Ordering;

use vulcan_api::{
    BackendList, NodeInfo, NodeList, NodeName, ProblemKind, Stats, Status, StatusCounts, Timestamp,
};

use super::Refused;
use crate::service::Service;

/// What `finished_last_minute` looks back on.
const MINUTE_MS: i64 = 60_000;

impl Service {
    /// Returns all backends of all nodes.
    pub(crate) fn backend_list(&self) -> BackendList {
        BackendList {
            backends: self.shared.inventory.borrow().backends().cloned().collect(),
        }
    }

    /// Returns all nodes.
    pub(crate) fn node_list(&self) -> NodeList {
        NodeList {
            nodes: self.shared.inventory.borrow().nodes().cloned().collect(),
        }
    }

    /// Returns one node.
    pub(crate) fn node_get(&self, name: &NodeName) -> Result<NodeInfo, Refused> {
        self.shared.inventory.borrow().node(name).cloned().ok_or_else(|| {
            Refused::new(
                ProblemKind::NotFound,
                format!("no node is named {name}; GET /v1/nodes lists them"),
            )
        })
    }

    /// Returns why the server does not take workloads; `None` when it does.
    pub(crate) fn why_not_ready(&self) -> Option<&'static str> {
        if let Some(reason) = self.why_draining() {
            return Some(reason);
        }
        let has_ready_node = self.shared.inventory.borrow().nodes().any(|node| node.ready);
        (!has_ready_node).then_some("no node is ready")
    }

    /// Returns why nothing new is begun; `None` while the server goes on.
    pub(crate) fn why_draining(&self) -> Option<&'static str> {
        self.is_draining
            .load(Ordering::Relaxed)
            .then_some("the server is shutting down")
    }

    /// Returns the platform at a glance.
    pub(crate) async fn stats(&self) -> Result<Stats, Refused> {
        let failed = |error| Refused::storage("the records could not be counted", &error);
        let now = self.shared.clock.now();
        let since = Timestamp::from_millis(now.as_millis().saturating_sub(MINUTE_MS));
        let stored = self.shared.store.workload_count().await.map_err(failed)?;
        let finished_last_minute = self.shared.store.finished_count(since).await.map_err(failed)?;
        let [start_ms_p50, start_ms_p99, run_ms_p50, run_ms_p99] = self.shared.metrics.percentiles();
        let nodes_ready = self
            .shared
            .inventory
            .borrow()
            .nodes()
            .filter(|node| node.ready)
            .count();
        Ok(Stats {
            workloads: self.counts(stored),
            nodes_ready: u32::try_from(nodes_ready).unwrap_or(u32::MAX),
            finished_last_minute,
            start_ms_p50,
            start_ms_p99,
            run_ms_p50,
            run_ms_p99,
            uptime_s: self.started_at.elapsed().as_secs(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    /// Who waits and who runs is known in memory.
    fn counts(&self, stored: StatusCounts) -> StatusCounts {
        let count = |status: Status| self.shared.board.list(|record| record.status == status).len() as u64;
        StatusCounts {
            pending: count(Status::Pending),
            running: count(Status::Running),
            ..stored
        }
    }
}
