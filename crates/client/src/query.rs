//! What goes with a request beside its body.

use std::time::Duration;

use vulcan_api::{IsolationClass, Runtime, Status};

/// How a workload is handed over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// A repeat under the same key returns the first workload: with a key the client itself tries again when the
    /// connection breaks.
    pub idempotency_key: Option<String>,
    /// How long to wait for the answer; `None` takes the workload's own limit and a minute for the queue.
    pub deadline: Option<Duration>,
}

/// Which workloads to list, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// Only those of this status.
    pub status: Option<Status>,
    /// Only those that ran under this class.
    pub isolation: Option<IsolationClass>,
    /// Only those of this runtime.
    pub runtime: Option<Runtime>,
    /// The most records in one page; `None` leaves it to the server.
    pub limit: Option<u32>,
    /// Where the page begins: [`vulcan_api::WorkloadList::next_cursor`] of the page before.
    pub cursor: Option<String>,
}

impl ListQuery {
    pub(crate) fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        let mut push = |name, value: Option<String>| pairs.extend(value.map(|value| (name, value)));
        push("status", self.status.map(|status| status.as_str().to_owned()));
        push("isolation", self.isolation.map(|class| class.as_str().to_owned()));
        push("runtime", self.runtime.map(|runtime| runtime.as_str().to_owned()));
        push("limit", self.limit.map(|limit| limit.to_string()));
        push("cursor", self.cursor.clone());
        pairs
    }
}
