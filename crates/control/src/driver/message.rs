//! What the driver is told from within the process, what it answers, and what it shares.

use std::sync::Arc;

use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};
use vulcan_api::{Clock, Program, Workload, WorkloadId};

use super::Recovery;
use crate::{
    board::{Board, Seen},
    budget::Share,
    inventory::Inventory,
    metrics::Metrics,
    scheduler::Refusal,
    store::{self, KeyClaim, Store},
};

/// A workload to run.
#[derive(Debug)]
pub(crate) struct Submit {
    /// Its first record.
    pub(crate) record: Workload,
    /// What it runs.
    pub(crate) program: Program,
    /// Whether it must be durable before the caller is told, and survive a restart.
    pub(crate) is_async: bool,
    /// Whether it may run again.
    pub(crate) is_idempotent: bool,
    /// The caller's key.
    pub(crate) key: Option<KeyClaim>,
    /// The memory that the program holds.
    pub(crate) share: Share,
    /// When its request arrived.
    pub(crate) accepted_at: Instant,
}

/// What became of a submission.
#[derive(Debug)]
pub(crate) enum Submitted {
    /// It is taken in; this shows how it goes on.
    New(watch::Receiver<Seen>),
    /// Its key belongs to an earlier request.
    KeyTaken {
        /// The earlier workload.
        workload: WorkloadId,
        /// The digest of the earlier request.
        request_digest: Vec<u8>,
    },
}

/// Why a submission was not taken in.
#[derive(Debug)]
pub(crate) enum SubmitError {
    /// The scheduler has no place for it.
    Refused(Refusal),
    /// It could not be stored.
    Storage(store::Error),
    /// The server aborts.
    ShuttingDown,
}

pub(super) type SubmitReply = oneshot::Sender<Result<Submitted, SubmitError>>;

/// What the driver is told from within the process.
#[derive(Debug)]
pub(crate) enum Message {
    /// Run this.
    Submit(Box<Submit>, SubmitReply),
    /// Kill this.
    Kill(WorkloadId),
    /// Stop everything that runs; leave in the queue what survives a restart.
    Abort,
}

/// What the driver shares with the rest of the process.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    /// The records.
    pub(crate) store: Store,
    /// What waiters see.
    pub(crate) board: Arc<Board>,
    /// What the nodes say.
    pub(crate) inventory: watch::Sender<Arc<Inventory>>,
    /// How many workloads are unfinished.
    pub(crate) unfinished: watch::Sender<usize>,
    /// What became of a former run's workloads, once that is known.
    pub(crate) recovery: watch::Sender<Option<Recovery>>,
    /// Where the time comes from.
    pub(crate) clock: Arc<dyn Clock>,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
}
