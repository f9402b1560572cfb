//! Ends of workloads that the control plane has not acknowledged: reported again and again, and stored when it takes long.
//!
//! ```text
//! in memory ──unacknowledged for a while, too many, shutdown──▶ stored ──acknowledged──▶ forgotten
//!     └──────────────────── acknowledged ──────────────────────────────────────────────────▲
//! ```

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep, timeout},
};
use vulcan_api::WorkloadId;
use vulcan_bus::{Report, WorkloadReport, WorkloadState};

use crate::{Intervals, host, store::Store};

/// How many ends are kept in memory; the oldest beyond it are stored.
const HELD_LEN_MAX: usize = 1024;
/// How many bytes of outputs are kept in memory; the oldest beyond it are stored.
const HELD_BYTES_MAX: usize = 32 << 20;
/// How often the waiting ends are looked at, while there are any.
const TICK: Duration = Duration::from_millis(100);
/// How many ends are reported again or stored per look.
const BATCH_LEN_MAX: usize = 64;

struct Entry {
    generation: u32,
    body: Body,
    since: Instant,
    next_at: Instant,
    pause: Duration,
}

enum Body {
    Memory {
        report: Box<WorkloadReport>,
        bytes: usize,
    },
    Stored,
}

/// The ends that wait for their acknowledgement.
pub(crate) struct Outbox {
    entries: Mutex<HashMap<WorkloadId, Entry>>,
    reports: mpsc::Sender<Report>,
    store: Store,
    intervals: Intervals,
    filled: Notify,
    emptied: Notify,
}

impl Outbox {
    /// Makes an outbox that holds what a former process stored; all of it is reported at once.
    pub(crate) fn new(
        reports: mpsc::Sender<Report>,
        store: Store,
        intervals: Intervals,
        stored: Vec<(WorkloadId, u32)>,
    ) -> Self {
        let now = Instant::now();
        let entry = |generation| Entry {
            generation,
            body: Body::Stored,
            since: now,
            next_at: now,
            pause: intervals.resend_min,
        };
        let entries = stored
            .into_iter()
            .map(|(workload, generation)| (workload, entry(generation)));
        Self {
            entries: Mutex::new(entries.collect()),
            reports,
            store,
            intervals,
            filled: Notify::new(),
            emptied: Notify::new(),
        }
    }

    /// Reports something once; where there is no room on the bus, it is left out, for the end will come.
    pub(crate) fn tell(&self, report: WorkloadReport) {
        let _ = self.reports.try_send(Report::Workload(Box::new(report)));
    }

    /// Reports the node as a whole. Waits for room on the bus.
    pub(crate) async fn tell_status(&self, status: vulcan_bus::NodeStatus) {
        let _ = self.reports.send(Report::Status(Box::new(status))).await;
    }

    /// Reports an end until it is acknowledged.
    pub(crate) fn end(&self, report: WorkloadReport) {
        let now = Instant::now();
        let entry = Entry {
            generation: report.generation,
            body: Body::Memory {
                bytes: bytes_of(&report),
                report: Box::new(report.clone()),
            },
            since: now,
            next_at: now + self.intervals.resend_min,
            pause: self.intervals.resend_min,
        };
        // First noted and then sent: its acknowledgement may be here at once.
        self.locked().insert(report.workload, entry);
        self.tell(report);
        self.filled.notify_one();
    }

    /// Notes an acknowledgement. One of an older generation says nothing about this one.
    pub(crate) fn acknowledge(&self, workload: WorkloadId, generation: u32) {
        let mut entries = self.locked();
        let known = entries
            .get(&workload)
            .is_some_and(|entry| entry.generation <= generation);
        let Some(entry) = known.then(|| entries.remove(&workload)).flatten() else {
            return;
        };
        let is_empty = entries.is_empty();
        drop(entries);
        if matches!(entry.body, Body::Stored) {
            self.store.outbox_delete(workload, generation);
        }
        if is_empty {
            self.emptied.notify_waiters();
        }
    }

    /// Returns the generation of an end that waits.
    pub(crate) fn generation(&self, workload: &WorkloadId) -> Option<u32> {
        self.locked().get(workload).map(|entry| entry.generation)
    }

    /// Returns everything that waits.
    pub(crate) fn waiting(&self) -> Vec<(WorkloadId, u32)> {
        self.locked()
            .iter()
            .map(|(workload, entry)| (*workload, entry.generation))
            .collect()
    }

    /// Reports an end again, soon.
    pub(crate) fn repeat(&self, workload: &WorkloadId) {
        if let Some(entry) = self.locked().get_mut(workload) {
            entry.next_at = Instant::now();
            self.filled.notify_one();
        }
    }

    /// Repeats and stores for as long as it is polled. May be dropped at any time.
    pub(crate) async fn tend(&self) {
        loop {
            if self.locked().is_empty() {
                self.filled.notified().await;
            }
            self.resend().await;
            let overdue = self.overdue(Instant::now());
            self.spill(&overdue).await;
            sleep(TICK).await;
        }
    }

    /// Waits a little for the last acknowledgements, and stores what stays without one.
    pub(crate) async fn settle(&self) {
        let emptied = async {
            loop {
                let notified = self.emptied.notified();
                tokio::pin!(notified);
                notified.as_mut().enable();
                if self.locked().is_empty() {
                    return;
                }
                notified.await;
            }
        };
        // What is left is stored below.
        let _ = timeout(self.intervals.acknowledge, emptied).await;
        for batch in self.held().chunks(BATCH_LEN_MAX) {
            self.spill(batch).await;
        }
        self.store.flush().await;
    }

    async fn resend(&self) {
        let (reports, stored) = self.due(Instant::now());
        for report in reports {
            self.tell(report);
        }
        for (workload, generation) in stored {
            match self.store.outbox_read(workload).await {
                Some(report) => self.tell(report),
                // Nothing can be told about it any more; the control plane finds it missing from the node's list.
                None => self.acknowledge(workload, generation),
            }
        }
    }

    /// Takes what is to be repeated now: reports, and keys of stored ones.
    fn due(&self, now: Instant) -> (Vec<WorkloadReport>, Vec<(WorkloadId, u32)>) {
        let (mut reports, mut stored) = (Vec::new(), Vec::new());
        let mut entries = self.locked();
        let due = entries.iter_mut().filter(|(_, entry)| entry.next_at <= now);
        for (workload, entry) in due.take(BATCH_LEN_MAX) {
            entry.next_at = now + jittered(entry.pause);
            entry.pause = (entry.pause * 2).min(self.intervals.resend_max);
            match &entry.body {
                Body::Memory { report, .. } => reports.push(report.as_ref().clone()),
                Body::Stored => stored.push((*workload, entry.generation)),
            }
        }
        (reports, stored)
    }

    /// Returns what is to be stored now: what waits too long, and the oldest of what is too much.
    fn overdue(&self, now: Instant) -> Vec<WorkloadId> {
        let is_late = |entry: &Entry| now.duration_since(entry.since) >= self.intervals.spill_after;
        let (len, bytes, late) = self
            .locked()
            .values()
            .fold((0, 0, false), |(len, sum, late), entry| match entry.body {
                Body::Memory { bytes, .. } => (len + 1, sum + bytes, late || is_late(entry)),
                Body::Stored => (len, sum, late),
            });
        if len <= HELD_LEN_MAX && bytes <= HELD_BYTES_MAX && !late {
            return Vec::new();
        }
        // The oldest first: whatever is late is among them.
        let mut held = self.held();
        held.truncate(BATCH_LEN_MAX);
        held
    }

    /// Returns what is in memory alone, the oldest first.
    fn held(&self) -> Vec<WorkloadId> {
        let entries = self.locked();
        let in_memory = entries
            .iter()
            .filter(|(_, entry)| matches!(entry.body, Body::Memory { .. }));
        let mut held: Vec<(Instant, WorkloadId)> = in_memory
            .map(|(workload, entry)| (entry.since, *workload))
            .collect();
        held.sort_unstable();
        held.into_iter().map(|(_, workload)| workload).collect()
    }

    async fn spill(&self, workloads: &[WorkloadId]) {
        for workload in workloads {
            let report = match self.locked().get(workload).map(|entry| &entry.body) {
                Some(Body::Memory { report, .. }) => report.as_ref().clone(),
                Some(Body::Stored) | None => continue,
            };
            let generation = report.generation;
            if !self.store.outbox_put(report).await {
                continue;
            }
            let mut entries = self.locked();
            let entry = entries
                .get_mut(workload)
                .filter(|entry| entry.generation == generation);
            match entry {
                Some(entry) => entry.body = Body::Stored,
                // It was acknowledged while it was being stored.
                None => self.store.outbox_delete(*workload, generation),
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<WorkloadId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Estimates how much memory an end takes, without writing it out.
fn bytes_of(report: &WorkloadReport) -> usize {
    match &report.state {
        WorkloadState::Ended(end) => end.output.as_ref().map_or(0, value_bytes),
        WorkloadState::Rejected { .. } | WorkloadState::Running { .. } => 0,
    }
}

/// Recursion is safe: what parses JSON allows 128 levels.
fn value_bytes(value: &Value) -> usize {
    let inner = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(value_bytes).sum(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| name.len() + value_bytes(field))
            .sum(),
    };
    size_of::<Value>() + inner
}

/// Spreads a pause over 75 to 125 % of it, so that many do not come at once.
fn jittered(pause: Duration) -> Duration {
    let percent = u32::try_from(host::random() % 51).unwrap_or(0) + 75;
    pause * percent / 100
}
