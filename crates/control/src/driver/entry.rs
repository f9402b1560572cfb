//! One unfinished workload as the driver holds it, and how its record changes.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};
use vulcan_api::{
    ErrorCode, NodeName, Program, Resources, Status, Timestamp, Workload, WorkloadError, WorkloadId,
};
use vulcan_bus::{Assignment, StopReason, WorkloadEnd};

use crate::{
    board::Seen,
    budget::Share,
    scheduler::{Happening, Outcome, QUEUE_WAIT_MAX, next},
    store::{self, Write},
};

/// How long a record that nothing on disk depends on waits for its end, to be written once and not twice.
const INSERT_AFTER: Duration = Duration::from_millis(50);
/// The first pause before an end is written again; it doubles.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// The longest pause before an end is written again.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);

/// One unfinished workload.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) record: Arc<Workload>,
    /// What it runs, for as long as it may have to be sent to a node.
    pub(super) program: Option<Arc<Program>>,
    /// The memory that the program holds.
    pub(super) share: Option<Share>,
    /// Whether its record was handed to the store already. One that nobody but its waiting caller knows of is written whole
    /// with its end, where that comes soon.
    pub(super) is_inserted: bool,
    /// Whether the program survives a restart, so that the workload is placed again then.
    pub(super) is_durable: bool,
    pub(super) may_run_again: bool,
    /// When its request arrived; `None` when that was before the last restart.
    pub(super) accepted_at: Option<Instant>,
    /// The end as its node reported it, until the scheduler has it recorded.
    pub(super) reported: Option<Box<WorkloadEnd>>,
    /// The final record that is not stored yet.
    pub(super) end: Option<Arc<Workload>>,
    pub(super) retry_at: Option<Instant>,
    retries: u32,
    seen: watch::Sender<Seen>,
}

impl Entry {
    pub(super) fn new(record: Workload, program: Option<Arc<Program>>, accepted_at: Option<Instant>) -> Self {
        let record = Arc::new(record);
        let (seen, _) = watch::channel(Seen {
            record: Arc::clone(&record),
            storage_failure: None,
        });
        Self {
            record,
            program,
            share: None,
            is_inserted: true,
            is_durable: false,
            may_run_again: false,
            accepted_at,
            reported: None,
            end: None,
            retry_at: None,
            retries: 0,
            seen,
        }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Seen> {
        self.seen.subscribe()
    }

    /// Builds what the node is sent; `None` when the program is not here any more, which the scheduler rules out.
    pub(super) fn assignment(&self, generation: u32, caps: (usize, u64)) -> Option<Assignment> {
        let record = &self.record;
        Some(Assignment {
            workload: record.id,
            generation,
            isolation: record.isolation_used?,
            program: self.program.as_deref()?.clone(),
            resources: record.resources,
            network: record.network,
            owner: record.project.clone(),
            reuse: record.reuse,
            output_bytes_max: caps.0,
            log_bytes_max: caps.1,
        })
    }

    pub(super) fn show_running(&mut self, started_at: Timestamp) {
        if let Some(status) = next(self.record.status, Happening::Started) {
            self.change(|record| {
                record.status = status;
                record.started_at = Some(started_at);
            });
        }
        if !self.may_run_again {
            self.drop_program();
        }
    }

    pub(super) fn show_pending(&mut self) {
        let status = next(self.record.status, Happening::PutBack).unwrap_or(self.record.status);
        self.change(|record| {
            record.status = status;
            record.started_at = None;
            record.node = None;
        });
    }

    pub(super) fn set_node(&mut self, node: NodeName) {
        Arc::make_mut(&mut self.record).node = Some(node);
    }

    fn change(&mut self, change: impl FnOnce(&mut Workload)) {
        change(Arc::make_mut(&mut self.record));
        self.show(Arc::clone(&self.record), None);
    }

    /// Makes the final record out of the node's report. It is shown only when it is stored.
    pub(super) fn end_reported(&mut self, now: Instant) -> Option<Arc<Workload>> {
        let end = self.reported.take()?;
        let mut record = self.record.as_ref().clone();
        let status = next(record.status, Happening::Ended(end.status));
        record.status = status.unwrap_or(Status::Failed);
        record.error = end.error.or_else(|| status.is_none().then(not_an_end));
        record.output = end.output;
        record.exit_code = end.exit_code;
        record.usage = end.usage;
        record.start = end.start;
        record.started_at = Some(end.started_at);
        record.start_ms = Some(end.start_ms);
        record.run_ms = Some(end.run_ms);
        record.finished_at = Some(end.finished_at);
        record.logs_truncated = end.logs_truncated;
        let duration_ms = self.duration_ms(now, end.finished_at);
        record.duration_ms = Some(duration_ms);
        // What is left: the node's word of a start comes late or never, so it cannot be measured from here.
        record.queued_ms = Some((duration_ms - end.start_ms - end.run_ms).max(0.0));
        Some(self.set_end(record))
    }

    /// Makes the final record of a workload that no node reported the end of.
    pub(super) fn end_unreported(
        &mut self,
        now: Instant,
        wall: Timestamp,
        outcome: Outcome,
    ) -> Arc<Workload> {
        let mut record = self.record.as_ref().clone();
        let (status, error) = explain(outcome);
        record.status = next(record.status, Happening::Ended(status)).unwrap_or(record.status);
        record.error = Some(error);
        record.finished_at = Some(wall);
        record.duration_ms = Some(self.duration_ms(now, wall));
        self.set_end(record)
    }

    fn set_end(&mut self, record: Workload) -> Arc<Workload> {
        let record = Arc::new(record);
        self.end = Some(Arc::clone(&record));
        self.drop_program();
        record
    }

    fn drop_program(&mut self) {
        self.program = None;
        self.share = None;
    }

    fn duration_ms(&self, now: Instant, wall: Timestamp) -> f64 {
        match self.accepted_at {
            Some(accepted_at) => millis(now.saturating_duration_since(accepted_at)),
            None => millis(Duration::from_millis(wall.millis_since(self.record.created_at))),
        }
    }

    /// Returns the write of a final record.
    pub(super) fn end_write(&self, end: Arc<Workload>) -> Write {
        if self.is_inserted {
            let has_program = self.is_durable;
            Write::End {
                record: end,
                has_program,
            }
        } else {
            Write::Whole(end)
        }
    }

    /// Returns whether the record has waited for its end for long enough.
    pub(super) fn is_insert_due(&self, now: Instant) -> bool {
        !self.is_inserted
            && self.end.is_none()
            && self
                .accepted_at
                .is_none_or(|accepted_at| now.saturating_duration_since(accepted_at) >= INSERT_AFTER)
    }

    /// Shows the end to all who wait; it is stored.
    pub(super) fn show_end(&self) {
        if let Some(end) = &self.end {
            self.show(Arc::clone(end), None);
        }
    }

    /// Shows that the record could not be stored.
    pub(super) fn show_storage_failure(&self, error: store::Error) {
        self.show(Arc::clone(&self.record), Some(error));
    }

    fn show(&self, record: Arc<Workload>, storage_failure: Option<store::Error>) {
        drop(self.seen.send_replace(Seen {
            record,
            storage_failure,
        }));
    }

    /// Notes that the end could not be stored, and when to try again.
    pub(super) fn retry_later(&mut self, now: Instant) {
        let pause = RETRY_AFTER
            .saturating_mul(1 << self.retries.min(10))
            .min(RETRY_AFTER_MAX);
        self.retries = self.retries.saturating_add(1);
        self.retry_at = Some(now + pause);
    }
}

fn explain(outcome: Outcome) -> (Status, WorkloadError) {
    match outcome {
        Outcome::StoppedBeforeStart(StopReason::Killed) => (
            Status::Killed,
            WorkloadError::new(ErrorCode::Killed, "it was killed"),
        ),
        Outcome::StoppedBeforeStart(StopReason::Shutdown) => (
            Status::Failed,
            WorkloadError::new(ErrorCode::NodeRestarted, "the server was shut down before it ran"),
        ),
        Outcome::Lost => (
            Status::Failed,
            WorkloadError::new(
                ErrorCode::NodeRestarted,
                "the server or the node was restarted before it was over; workloads that say \"idempotent\": true run again",
            ),
        ),
        Outcome::WaitedTooLong => (
            Status::Failed,
            WorkloadError::new(
                ErrorCode::StartFailed,
                format!(
                    "no node had room for it within {} seconds",
                    QUEUE_WAIT_MAX.as_secs()
                ),
            ),
        ),
    }
}

fn not_an_end() -> WorkloadError {
    WorkloadError::new(
        ErrorCode::InstanceLost,
        "the node reported an end without a final status",
    )
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// What the scheduler is told about a record.
pub(super) fn memory(resources: &Resources) -> u32 {
    resources.mem_mb
}

/// Names an entry in a log line.
pub(super) fn name(id: WorkloadId) -> tracing::field::DisplayValue<WorkloadId> {
    tracing::field::display(id)
}
