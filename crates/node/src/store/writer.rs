//! The one task that writes the database.

use std::{collections::HashSet, time::Duration};

use sqlx::{Connection, SqliteConnection};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};
use tokio_util::task::TaskTracker;
use vulcan_api::{InstanceId, WorkloadId};
use vulcan_bus::WorkloadReport;

use super::database::{Database, InstanceRow, instance_delete, instance_put, outbox_delete, outbox_put};

/// How many changes wait at most; more are refused, and whoever wanted them says so.
const QUEUE_LEN_MAX: usize = 4096;
/// How many changes one commit carries at most.
const BATCH_LEN_MAX: usize = 256;
/// How long a change may wait for others. Most instances are gone by then, and are never written at all: that is why a
/// sweep does not rely on the database.
const LINGER: Duration = Duration::from_millis(50);

enum Change {
    InstancePut(InstanceRow),
    InstanceDelete(InstanceId),
    OutboxPut(Box<WorkloadReport>, oneshot::Sender<bool>),
    OutboxDelete(WorkloadId, u32),
    OutboxRead(WorkloadId, oneshot::Sender<Option<WorkloadReport>>),
    Flush(oneshot::Sender<()>),
}

impl Change {
    /// Whether somebody waits for it.
    const fn is_urgent(&self) -> bool {
        match self {
            Self::OutboxPut(..) | Self::OutboxRead(..) | Self::Flush(_) => true,
            Self::InstancePut(_) | Self::InstanceDelete(_) | Self::OutboxDelete(..) => false,
        }
    }
}

/// Takes changes to a node's database; clones write to the same one.
#[derive(Clone)]
pub(crate) struct Store(mpsc::Sender<Change>);

impl Store {
    /// Starts the task that writes; it ends when the last clone is dropped.
    pub(crate) fn start(database: Database, tasks: &TaskTracker) -> Self {
        let (sender, changes) = mpsc::channel(QUEUE_LEN_MAX);
        tasks.spawn(write_all(database, changes));
        Self(sender)
    }

    /// Notes an instance, some time soon. A note that is lost costs an adoption, never a sweep.
    pub(crate) fn instance_put(&self, row: InstanceRow) {
        self.enqueue(Change::InstancePut(row));
    }

    /// Forgets an instance, some time soon. A row that stays is found to be gone at the next start.
    pub(crate) fn instance_delete(&self, id: InstanceId) {
        self.enqueue(Change::InstanceDelete(id));
    }

    /// Stores an end; returns whether it is stored.
    pub(crate) async fn outbox_put(&self, report: WorkloadReport) -> bool {
        let (reply, stored) = oneshot::channel();
        let sent = self.0.send(Change::OutboxPut(Box::new(report), reply)).await;
        sent.is_ok() && stored.await.unwrap_or(false)
    }

    /// Forgets a stored end, some time soon. One that stays is reported and acknowledged once more.
    pub(crate) fn outbox_delete(&self, workload: WorkloadId, generation: u32) {
        self.enqueue(Change::OutboxDelete(workload, generation));
    }

    /// Returns a stored end.
    pub(crate) async fn outbox_read(&self, workload: WorkloadId) -> Option<WorkloadReport> {
        let (reply, report) = oneshot::channel();
        self.0.send(Change::OutboxRead(workload, reply)).await.ok()?;
        report.await.ok().flatten()
    }

    /// Waits until everything that was enqueued before is written.
    pub(crate) async fn flush(&self) {
        let (reply, flushed) = oneshot::channel();
        if self.0.send(Change::Flush(reply)).await.is_ok() {
            // An error means that the writer is gone.
            let _ = flushed.await;
        }
    }

    fn enqueue(&self, change: Change) {
        if self.0.try_send(change).is_err() {
            tracing::warn!("node database is too slow: a change was left out");
        }
    }
}

async fn write_all(mut database: Database, mut changes: mpsc::Receiver<Change>) {
    while let Some(first) = changes.recv().await {
        let batch = gather(first, &mut changes).await;
        commit(&mut database, batch).await;
    }
    // Without it the log file stays as it is, and is read at the next start: no harm.
    let _ = database.0.close().await;
}

/// Waits for more changes until the batch is full, somebody waits, or [`LINGER`] is over.
async fn gather(first: Change, changes: &mut mpsc::Receiver<Change>) -> Vec<Change> {
    let deadline = Instant::now() + LINGER;
    let mut urgent = first.is_urgent();
    let mut batch = vec![first];
    while batch.len() < BATCH_LEN_MAX {
        let next = if urgent {
            changes.try_recv().ok()
        } else {
            timeout_at(deadline, changes.recv()).await.ok().flatten()
        };
        let Some(change) = next else { break };
        urgent |= change.is_urgent();
        batch.push(change);
    }
    batch
}

/// Leaves out instances that came and went within the batch.
fn without_short_lives(batch: Vec<Change>) -> Vec<Change> {
    let put: HashSet<InstanceId> = batch
        .iter()
        .filter_map(|change| {
            if let Change::InstancePut(row) = change {
                Some(row.id)
            } else {
                None
            }
        })
        .collect();
    let short: HashSet<InstanceId> = batch
        .iter()
        .filter_map(|change| {
            if let Change::InstanceDelete(id) = change {
                Some(*id)
            } else {
                None
            }
        })
        .filter(|id| put.contains(id))
        .collect();
    batch
        .into_iter()
        .filter(|change| match change {
            Change::InstancePut(row) => !short.contains(&row.id),
            Change::InstanceDelete(id) => !short.contains(id),
            Change::OutboxPut(..) | Change::OutboxDelete(..) | Change::OutboxRead(..) | Change::Flush(_) => {
                true
            }
        })
        .collect()
}

async fn commit(database: &mut Database, batch: Vec<Change>) {
    let batch = without_short_lives(batch);
    let is_write = |change: &Change| !matches!(change, Change::OutboxRead(..) | Change::Flush(_));
    let written = if batch.iter().any(is_write) {
        write(&mut database.0, &batch).await
    } else {
        Ok(())
    };
    if let Err(error) = &written {
        tracing::warn!(%error, "node database could not be written");
    }
    for change in batch {
        answer(database, change, &written).await;
    }
}

async fn write(connection: &mut SqliteConnection, batch: &[Change]) -> sqlx::Result<()> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for change in batch {
        match change {
            Change::InstancePut(row) => instance_put(&mut transaction, row).await?,
            Change::InstanceDelete(id) => instance_delete(&mut transaction, *id).await?,
            Change::OutboxPut(report, _) => outbox_put(&mut transaction, report).await?,
            Change::OutboxDelete(workload, generation) => {
                outbox_delete(&mut transaction, *workload, *generation).await?;
            }
            Change::OutboxRead(..) | Change::Flush(_) => {}
        }
    }
    transaction.commit().await
}

/// Tells whoever waits; whoever went away does not mind.
async fn answer(database: &mut Database, change: Change, written: &sqlx::Result<()>) {
    match change {
        Change::OutboxPut(_, reply) => drop(reply.send(written.is_ok())),
        Change::OutboxRead(workload, reply) => {
            let report = database.outbox_read(workload).await.unwrap_or_else(|error| {
                tracing::warn!(workload.id = %workload, %error, "stored end could not be read");
                None
            });
            drop(reply.send(report));
        }
        Change::Flush(reply) => drop(reply.send(())),
        Change::InstancePut(_) | Change::InstanceDelete(_) | Change::OutboxDelete(..) => {}
    }
}
