//! What goes into the scheduler and what comes out of it.

use vulcan_api::{BackendInfo, NodeInfo, NodeName, WorkloadId};
use vulcan_bus::StopReason;

use super::nodes::Need;

/// A workload that comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Submission {
    /// Its name.
    pub(crate) workload: WorkloadId,
    /// What it needs of a node.
    pub(crate) need: Need,
    /// The memory it is promised, in MiB.
    pub(crate) mem_mb: u32,
    /// Whether it may run again when its node loses it.
    pub(crate) may_run_again: bool,
    /// Whether it must wait for [`Event::Released`] before it is placed, because its record is not durable yet.
    pub(crate) is_held: bool,
}

/// What a node says about itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NodeReport<'a> {
    /// Who it is and what it has.
    pub(crate) node: &'a NodeInfo,
    /// What it can isolate with.
    pub(crate) backends: &'a [BackendInfo],
    /// What is assigned to it and not acknowledged.
    pub(crate) workloads: &'a [(WorkloadId, u32)],
}

/// What a node says about one workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReportKind {
    /// It has no room.
    Rejected,
    /// It runs.
    Running,
    /// It is over.
    Ended,
    /// It is over because the node was restarted in the middle.
    Lost,
}

/// Where a workload of a former run was when that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Former {
    /// In the queue: no node can have it.
    Queued,
    /// Perhaps on a node.
    Placed,
}

/// Something that happened.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event<'a> {
    /// The record of a held workload is durable: it may be placed.
    Released(WorkloadId),
    /// The record could not be stored: the workload is forgotten.
    Withdrawn(WorkloadId),
    /// A node reported as a whole.
    Node(NodeReport<'a>),
    /// A node reported on one workload.
    Workload {
        /// Which one.
        workload: WorkloadId,
        /// Which assignment of it.
        generation: u32,
        /// What it says.
        kind: ReportKind,
    },
    /// Somebody wants a workload to end.
    Stop {
        /// Which one.
        workload: WorkloadId,
        /// Why.
        reason: StopReason,
    },
    /// The end of a workload is on record.
    Stored(WorkloadId),
    /// Time passed.
    Tick,
}

/// How a workload ends without a node's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was stopped before it ran.
    StoppedBeforeStart(StopReason),
    /// Its node lost it.
    Lost,
    /// No node took it for [`QUEUE_WAIT_MAX`].
    WaitedTooLong,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send it to this node.
    Assign {
        /// Which one.
        workload: WorkloadId,
        /// Which assignment of it.
        generation: u32,
        /// Where.
        node: NodeName,
    },
    /// Tell the node to end it.
    Stop {
        /// Which one.
        workload: WorkloadId,
        /// Why.
        reason: StopReason,
    },
    /// Tell the node that the end is on record.
    Acknowledge {
        /// Which one.
        workload: WorkloadId,
        /// Which assignment of it.
        generation: u32,
    },
    /// It is back in the queue: no node has it.
    PutBack(WorkloadId),
    /// Record the end that the node just reported.
    RecordReported(WorkloadId),
    /// Record an end that no node reported.
    RecordOutcome {
        /// Which one.
        workload: WorkloadId,
        /// How it ended.
        outcome: Outcome,
    },
}

/// Why a workload is not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The queue is full.
    QueueFull {
        /// How many wait.
        waiting: usize,
    },
    /// No node has so much memory.
    TooLarge {
        /// The most that one node has, in MiB.
        mem_mb_max: u64,
    },
}
