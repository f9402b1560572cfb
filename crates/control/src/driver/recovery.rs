//! What became of the workloads that a former run of the server left unfinished.

use std::collections::HashSet;

use vulcan_api::WorkloadId;

/// What became of the workloads that a former run of the server left unfinished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Placed again: no node ever had them, or they may run again.
    pub requeued: u32,
    /// Ended as failed, with `node_restarted`.
    pub ended: u32,
    /// Still on their node, or their node knows how they ended.
    pub kept: u32,
}

/// Counts until every node has spoken.
#[derive(Debug, Default)]
pub(super) struct Counting {
    unconfirmed: HashSet<WorkloadId>,
    counts: Recovery,
}

impl Counting {
    /// Counts a workload whose placement is unknown.
    pub(super) fn unconfirmed(&mut self, workload: WorkloadId) {
        self.unconfirmed.insert(workload);
    }

    /// Counts a workload that goes back into the queue.
    pub(super) fn requeued(&mut self) {
        self.counts.requeued += 1;
    }

    /// Notes that an unconfirmed workload went back into the queue.
    pub(super) fn put_back(&mut self, workload: WorkloadId) {
        self.counts.requeued += u32::from(self.unconfirmed.remove(&workload));
    }

    /// Notes that a workload was ended because nobody had it.
    pub(super) fn ended(&mut self, workload: WorkloadId) {
        self.counts.ended += u32::from(self.unconfirmed.remove(&workload));
    }

    /// Returns the counts once nothing is unconfirmed: what was neither put back nor ended is on its node.
    pub(super) fn finish(&mut self) -> Recovery {
        let kept = u32::try_from(self.unconfirmed.len()).unwrap_or(u32::MAX);
        self.unconfirmed.clear();
        Recovery { kept, ..self.counts }
    }
}
