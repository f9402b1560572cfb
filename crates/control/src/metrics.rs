//! What is counted, in Prometheus' terms. No ids in labels.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use vulcan_api::{NodeInfo, Workload};

/// The registry that control plane and node share; `/metrics` encodes it.
pub type SharedRegistry = Arc<Mutex<Registry>>;

/// How many ended workloads the percentiles of `/v1/stats` look back on.
pub(crate) const RECENT_MAX: usize = 1_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WorkloadLabels {
    isolation: &'static str,
    runtime: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpLabels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: &'static str,
    route: String,
}

/// What is counted by the control plane. Starts, runs, instances and capacity are counted by the nodes.
#[derive(Debug)]
pub(crate) struct Metrics {
    workloads: Family<WorkloadLabels, Counter>,
    waiting: Gauge,
    unfinished: Gauge,
    nodes_ready: Gauge,
    http: Family<HttpLabels, Counter>,
    http_seconds: Family<RouteLabels, Histogram>,
    recent: Mutex<VecDeque<(Option<f64>, Option<f64>)>>,
}

impl Metrics {
    /// Makes the metrics, and registers them.
    pub(crate) fn new(registry: &SharedRegistry) -> Self {
        let metrics = Self {
            workloads: Family::default(),
            waiting: Gauge::default(),
            unfinished: Gauge::default(),
            nodes_ready: Gauge::default(),
            http: Family::default(),
            http_seconds: Family::new_with_constructor(seconds),
            recent: Mutex::default(),
        };
        metrics.register(&mut registry.lock().unwrap_or_else(PoisonError::into_inner));
        metrics
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("vulcan_workloads", "Workloads that ended", self.workloads.clone());
        registry.register(
            "vulcan_queue_length",
            "Workloads that wait for a node",
            self.waiting.clone(),
        );
        registry.register(
            "vulcan_workloads_unfinished",
            "Workloads that are accepted and not over",
            self.unfinished.clone(),
        );
        registry.register(
            "vulcan_nodes_ready",
            "Nodes that take workloads",
            self.nodes_ready.clone(),
        );
        registry.register(
            "vulcan_http_requests",
            "Requests that were answered",
            self.http.clone(),
        );
        registry.register_with_unit(
            "vulcan_http_request",
            "Time until the head of the answer",
            Unit::Seconds,
            self.http_seconds.clone(),
        );
    }

    /// Counts an ended workload.
    pub(crate) fn ended(&self, record: &Workload) {
        let isolation = record
            .isolation_used
            .map_or("none", vulcan_api::IsolationClass::as_str);
        let runtime = record.runtime.as_str();
        self.workloads
            .get_or_create(&WorkloadLabels {
                isolation,
                runtime,
                status: record.status.as_str(),
            })
            .inc();
        self.remember(record.start_ms, record.run_ms);
    }

    /// Counts an answered request; `route` is a route's pattern, never a path.
    pub(crate) fn answered(&self, method: &'static str, route: &str, status: u16, elapsed: Duration) {
        let route = route.to_owned();
        self.http
            .get_or_create(&HttpLabels {
                method,
                route: route.clone(),
                status,
            })
            .inc();
        self.http_seconds
            .get_or_create(&RouteLabels { method, route })
            .observe(elapsed.as_secs_f64());
    }

    /// Shows how much waits.
    pub(crate) fn set_waiting(&self, waiting: usize, unfinished: usize) {
        self.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.unfinished.set(i64::try_from(unfinished).unwrap_or(i64::MAX));
    }

    /// Shows how many nodes take workloads; what they have they show themselves.
    pub(crate) fn set_nodes<'a>(&self, nodes: impl Iterator<Item = &'a NodeInfo>) {
        let ready = nodes.filter(|node| node.ready).count();
        self.nodes_ready.set(i64::try_from(ready).unwrap_or(i64::MAX));
    }

    /// Remembers the durations of an ended workload for the percentiles.
    pub(crate) fn remember(&self, start_ms: Option<f64>, run_ms: Option<f64>) {
        let mut recent = self.recent();
        if recent.len() >= RECENT_MAX {
            recent.pop_front();
        }
        recent.push_back((start_ms, run_ms));
    }

    /// Returns median and 99th percentile of `start_ms`, then of `run_ms`, over the last ended workloads.
    pub(crate) fn percentiles(&self) -> [Option<f64>; 4] {
        let recent = self.recent();
        let starts: Vec<f64> = recent.iter().filter_map(|(start_ms, _)| *start_ms).collect();
        let runs: Vec<f64> = recent.iter().filter_map(|(_, run_ms)| *run_ms).collect();
        drop(recent);
        let (starts, runs) = (sorted(starts), sorted(runs));
        [
            percentile(&starts, 50),
            percentile(&starts, 99),
            percentile(&runs, 50),
            percentile(&runs, 99),
        ]
    }

    fn recent(&self) -> MutexGuard<'_, VecDeque<(Option<f64>, Option<f64>)>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// From a tenth of a millisecond to a minute.
fn seconds() -> Histogram {
    Histogram::new([
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
        10.0, 30.0, 60.0,
    ])
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// Returns the nearest-rank percentile of sorted values.
fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&values, 50), Some(50.0));
        assert_eq!(percentile(&values, 99), Some(99.0));
        assert_eq!(percentile(&[7.0], 99), Some(7.0));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn only_the_last_ended_workloads_are_remembered() {
        let metrics = Metrics::new(&SharedRegistry::default());
        for _ in 0..RECENT_MAX {
            metrics.remember(Some(1.0), None);
        }
        for _ in 0..RECENT_MAX {
            metrics.remember(Some(2.0), None);
        }
        assert_eq!(metrics.percentiles(), [Some(2.0), Some(2.0), None, None]);
    }
}
