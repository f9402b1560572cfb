//! Looking workloads up, waiting for them, stopping them.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};
use vulcan_api::{Isolation, ProblemKind, Runtime, Status, Workload, WorkloadId, WorkloadList};

use super::{Refused, cursor};
use crate::{
    board::Seen,
    driver::Message,
    service::Service,
    store::{Filter, Page},
};

/// How long a kill waits for the end that it causes.
const KILL_WAIT_MAX: Duration = Duration::from_secs(10);

/// What a list is to hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListQuery {
    /// Only with this status.
    pub(crate) status: Option<Status>,
    /// Only with this class in use, or with `auto` asked for.
    pub(crate) isolation: Option<Isolation>,
    /// Only with this runtime.
    pub(crate) runtime: Option<Runtime>,
    /// The most records.
    pub(crate) limit: u32,
    /// Where the last page ended.
    pub(crate) cursor: Option<String>,
}

impl Service {
    /// Returns the present record.
    pub(crate) async fn workload_get(&self, id: WorkloadId) -> Result<Arc<Workload>, Refused> {
        if let Some(record) = self.shared.board.get(id) {
            return Ok(record);
        }
        match self.shared.store.workload_get(id).await {
            Ok(Some(record)) => Ok(Arc::new(record)),
            Ok(None) => Err(Refused::new(
                ProblemKind::WorkloadNotFound,
                format!("no workload is named {id}: it never was, or its record is not kept any longer"),
            )),
            Err(error) => Err(Refused::storage("the record could not be read", &error)),
        }
    }

    /// Returns the record once it is final, or as it is after `wait`.
    pub(crate) async fn workload_wait(
        &self,
        id: WorkloadId,
        wait: Duration,
    ) -> Result<Arc<Workload>, Refused> {
        if let Some(mut seen) = self.shared.board.watch(id) {
            // The deadline is the caller's, and its passing is no error.
            drop(tokio::time::timeout(wait, until_final(&mut seen)).await);
        }
        self.workload_get(id).await
    }

    /// Stops a workload, and waits for its end for a while. One that is over stays as it is.
    pub(crate) async fn workload_kill(&self, id: WorkloadId) -> Result<Arc<Workload>, Refused> {
        if self.shared.board.get(id).is_some() && self.driver.send(Message::Kill(id)).await.is_err() {
            return Err(Refused::shutting_down("the server is shutting down"));
        }
        self.workload_wait(id, KILL_WAIT_MAX).await
    }

    /// Returns one page of records, newest first.
    pub(crate) async fn workload_list(&self, query: ListQuery) -> Result<WorkloadList, Refused> {
        let before = query.cursor.as_deref().map(cursor::decode).transpose()?;
        let filter = Filter {
            status: query.status,
            isolation: query.isolation,
            runtime: query.runtime,
        };
        // One more than asked says whether another page follows.
        let page = Page {
            before,
            limit: query.limit.saturating_add(1),
        };
        let mut workloads = match filter.status {
            // Who runs and who waits is known in memory only, and all of it is there.
            Some(Status::Pending | Status::Running) => self.list_unfinished(filter, page),
            Some(Status::Completed | Status::Failed | Status::Killed | Status::TimedOut) | None => {
                self.list_stored(filter, page).await?
            }
        };
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let has_more = workloads.len() > limit;
        workloads.truncate(limit);
        let next_cursor = workloads
            .last()
            .filter(|_| has_more)
            .map(|last| cursor::encode(last.id));
        Ok(WorkloadList {
            workloads,
            next_cursor,
        })
    }

    fn list_unfinished(&self, filter: Filter, page: Page) -> Vec<Workload> {
        let is_asked = |record: &Workload| {
            filter.status.is_none_or(|status| record.status == status)
                && filter.runtime.is_none_or(|runtime| record.runtime == runtime)
                && filter.isolation.is_none_or(|isolation| match isolation.class() {
                    Some(class) => record.isolation_used == Some(class),
                    None => record.isolation == isolation,
                })
                && page.before.is_none_or(|before| record.id < before)
        };
        let mut records = self.shared.board.list(is_asked);
        records.sort_unstable_by_key(|record| std::cmp::Reverse(record.id));
        records.truncate(usize::try_from(page.limit).unwrap_or(usize::MAX));
        records.into_iter().map(Arc::unwrap_or_clone).collect()
    }

    async fn list_stored(&self, filter: Filter, page: Page) -> Result<Vec<Workload>, Refused> {
        let mut records = self
            .shared
            .store
            .workload_list(filter, page)
            .await
            .map_err(|error| Refused::storage("the records could not be read", &error))?;
        for record in records.iter_mut().filter(|record| !record.status.is_final()) {
            if let Some(live) = self.shared.board.get(record.id) {
                *record = Arc::unwrap_or_clone(live);
            }
        }
        Ok(records)
    }
}

/// Waits until the record is final, or nobody changes it any more.
pub(super) async fn until_final(seen: &mut watch::Receiver<Seen>) {
    drop(seen.wait_for(|seen| seen.record.status.is_final()).await);
}

/// Waits until the workload left the queue, or nobody changes it any more.
pub(super) async fn until_placed(seen: &mut watch::Receiver<Seen>, deadline: Instant) {
    drop(
        tokio::time::timeout_at(
            deadline,
            seen.wait_for(|seen| seen.record.status != Status::Pending),
        )
        .await,
    );
}
