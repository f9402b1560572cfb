//! Where benchmarks are asked for: one at a time, found again later.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vulcan_api::{Benchmark, BenchmarkId, BenchmarkList, BenchmarkSpec, BenchmarkStatus, ProblemKind};

use super::{caller::Caller, runner};
use crate::{
    app::Refused,
    causes::chain,
    driver::Shared,
    service::{Handle, Service},
    store::{self, Write},
};

/// How long a cancellation waits for the end that it causes.
const CANCEL_WAIT_MAX: Duration = Duration::from_secs(10);

/// The newest benchmark of this process.
#[derive(Debug, Default)]
pub(crate) struct Desk(Mutex<Option<Entry>>);

#[derive(Debug, Clone)]
struct Entry {
    seen: watch::Receiver<Arc<Benchmark>>,
    cancel: CancellationToken,
}

impl Desk {
    fn entry(&self, id: BenchmarkId) -> Option<Entry> {
        self.lock().clone().filter(|entry| entry.seen.borrow().id == id)
    }

    /// Takes the place, or says who has it.
    fn take(&self, entry: Entry) -> Result<(), BenchmarkId> {
        let mut place = self.lock();
        let running = place.as_ref().map(|entry| entry.seen.borrow().clone());
        match running.filter(|record| !record.status.is_final()) {
            Some(record) => Err(record.id),
            None => {
                *place = Some(entry);
                Ok(())
            }
        }
    }

    fn give_back(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    /// Begins a benchmark, and returns its first record once that would survive a restart.
    pub(crate) async fn benchmark_begin(&self, spec: BenchmarkSpec) -> Result<Arc<Benchmark>, Refused> {
        let service = &self.service;
        if service.is_draining.load(Ordering::Relaxed) {
            return Err(Refused::shutting_down(
                "the server is shutting down and measures nothing",
            ));
        }
        if service.shared.inventory.borrow().is_empty() {
            return Err(Refused::shutting_down(
                "the server is starting: its node has not reported yet",
            ));
        }
        let now = service.shared.clock.now();
        let id = BenchmarkId::generate(now, service.random());
        let record = Arc::new(Benchmark::new(id, spec, now));
        let (shown, seen) = watch::channel(Arc::clone(&record));
        let cancel = CancellationToken::new();
        let entry = Entry {
            seen,
            cancel: cancel.clone(),
        };
        service.benchmarks.take(entry).map_err(is_running)?;
        if let Err(error) = service
            .shared
            .store
            .write(Write::Benchmark(Arc::clone(&record)))
            .await
        {
            service.benchmarks.give_back();
            return Err(Refused::storage("the benchmark was not begun", &error));
        }
        let caller = Arc::new(Caller::new(Arc::clone(service), id, shown));
        service
            .tasks
            .spawn(attended(caller, cancel, service.stop.clone()));
        Ok(record)
    }
}

/// Runs a benchmark until its end, until somebody ends it, or until the server goes.
async fn attended(caller: Arc<Caller>, cancel: CancellationToken, stop: CancellationToken) {
    // The run holds nothing that must be given back: what it started ends by itself.
    tokio::select! {
        () = runner::run(&caller) => {}
        () = cancel.cancelled() => runner::end(&caller, BenchmarkStatus::Cancelled, None).await,
        // The next start finds the record, and ends it.
        () = stop.cancelled() => {}
    }
}

impl Service {
    /// Returns the present record.
    pub(crate) async fn benchmark_get(&self, id: BenchmarkId) -> Result<Arc<Benchmark>, Refused> {
        if let Some(entry) = self.benchmarks.entry(id) {
            return Ok(Arc::clone(&entry.seen.borrow()));
        }
        match self.shared.store.benchmark_get(id).await {
            Ok(Some(record)) => Ok(Arc::new(record)),
            Ok(None) => Err(Refused::new(
                ProblemKind::BenchmarkNotFound,
                format!("no benchmark is named {id}: it never was, or a hundred newer ones are kept"),
            )),
            Err(error) => Err(Refused::storage("the benchmark could not be read", &error)),
        }
    }

    /// Returns the record once it is final, or as it is after `wait`.
    pub(crate) async fn benchmark_wait(
        &self,
        id: BenchmarkId,
        wait: Duration,
    ) -> Result<Arc<Benchmark>, Refused> {
        if let Some(mut entry) = self.benchmarks.entry(id) {
            let over = entry.seen.wait_for(|record| record.status.is_final());
            // The deadline is the caller's, and its passing is no error.
            drop(tokio::time::timeout(wait, over).await);
        }
        self.benchmark_get(id).await
    }

    /// Ends a benchmark, and waits for its end for a while. One that is over stays as it is.
    pub(crate) async fn benchmark_cancel(&self, id: BenchmarkId) -> Result<Arc<Benchmark>, Refused> {
        if let Some(entry) = self.benchmarks.entry(id) {
            entry.cancel.cancel();
        }
        self.benchmark_wait(id, CANCEL_WAIT_MAX).await
    }

    /// Returns all that are kept, newest first.
    pub(crate) async fn benchmark_list(&self) -> Result<BenchmarkList, Refused> {
        let stored = self.shared.store.benchmark_list().await;
        let records = stored.map_err(|error| Refused::storage("the benchmarks could not be read", &error))?;
        let summary = |record: &Benchmark| match self.benchmarks.entry(record.id) {
            Some(entry) => entry.seen.borrow().summary(),
            None => record.summary(),
        };
        Ok(BenchmarkList {
            benchmarks: records.iter().map(summary).collect(),
        })
    }
}

/// Ends the record of a benchmark that a former process left running.
///
/// # Errors
///
/// When the records cannot be read.
pub(crate) async fn end_former(shared: &Shared) -> Result<(), store::Error> {
    let records = shared.store.benchmark_list().await?;
    for mut record in records.into_iter().filter(|record| !record.status.is_final()) {
        record.status = BenchmarkStatus::Failed;
        record.error = Some("the server was shut down or ended before it was over".to_owned());
        record.finished_at = Some(shared.clock.now());
        if let Err(error) = shared.store.write(Write::Benchmark(Arc::new(record))).await {
            // The next start tries again.
            tracing::warn!(error = %chain(&error), "benchmark of a former process could not be ended");
        }
    }
    Ok(())
}

fn is_running(id: BenchmarkId) -> Refused {
    let detail = format!(
        "benchmark {id} is running: wait for it with GET /v1/benchmarks/{id}?wait=60s, or end it with DELETE"
    );
    Refused::new(ProblemKind::BenchmarkRunning, detail)
}
