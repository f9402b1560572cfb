//! What the steps of a benchmark work with: workloads through the app, measurements of the node, progress.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::{
    sync::{oneshot, watch},
    time::{Duration, Instant, timeout},
};
use vulcan_api::{
    BareCommand, Benchmark, BenchmarkId, Footprint, IsolationClass, ProblemKind, Status, Workload,
    WorkloadId, WorkloadSpec,
};
use vulcan_bus::{BareRun, Command, MachineFacts, Measure};

use crate::{
    app::{Refused, Request},
    causes::chain,
    service::Service,
    store::Write,
};

/// How long the node may take for one measurement.
const NODE_WAIT_MAX: Duration = Duration::from_secs(30);
/// The most records that one transaction deletes: the hot path writes between two.
const FORGET_SLICE: usize = 500;

/// Why a benchmark cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server was shut down before it was over")]
pub(super) struct Interrupted;

/// One workload that is over.
#[derive(Debug)]
pub(super) struct Called {
    /// Its record.
    pub(super) record: Arc<Workload>,
    /// From submission to the answer, in milliseconds.
    pub(super) total_ms: f64,
}

impl Called {
    /// Returns why it did not complete; `None` when it did.
    pub(super) fn failure(&self) -> Option<String> {
        if self.record.status == Status::Completed {
            return None;
        }
        let message = self.record.error.as_ref().map(|error| error.message.as_str());
        Some(message.unwrap_or(self.record.status.as_str()).to_owned())
    }
}

/// What the steps work with.
pub(super) struct Caller {
    service: Arc<Service>,
    id: BenchmarkId,
    seen: watch::Sender<Arc<Benchmark>>,
    /// Workloads that are to be forgotten.
    used: Mutex<Vec<WorkloadId>>,
}

impl Caller {
    /// Makes one for a benchmark that `seen` shows.
    pub(super) fn new(service: Arc<Service>, id: BenchmarkId, seen: watch::Sender<Arc<Benchmark>>) -> Self {
        Self {
            service,
            id,
            seen,
            used: Mutex::default(),
        }
    }

    /// Returns the platform.
    pub(super) fn service(&self) -> &Service {
        &self.service
    }

    /// Returns the benchmark's id.
    pub(super) const fn id(&self) -> BenchmarkId {
        self.id
    }

    /// Returns the record as it is now.
    pub(super) fn record(&self) -> Arc<Benchmark> {
        Arc::clone(&self.seen.borrow())
    }

    /// Changes the record, and shows it.
    pub(super) fn change(&self, change: impl FnOnce(&mut Benchmark)) {
        self.seen.send_modify(|record| change(Arc::make_mut(record)));
    }

    /// Shows that so many units more are done.
    pub(super) fn advance(&self, units: u32) {
        self.change(|record| {
            let progress = &mut record.progress;
            progress.done = progress.done.saturating_add(units).min(progress.total);
        });
    }

    /// Runs a workload to its end. The inner error is a refusal, in words.
    ///
    /// # Errors
    ///
    /// [`Interrupted`].
    pub(super) async fn run(&self, body: &Bytes) -> Result<Result<Called, String>, Interrupted> {
        let arrived_at = Instant::now();
        match self.service.workload_run(request(body, arrived_at)).await {
            Ok(record) => {
                let total_ms = arrived_at.elapsed().as_secs_f64() * 1e3;
                self.used().push(record.id);
                Ok(Ok(Called { record, total_ms }))
            }
            Err(refused) => words(refused).map(Err),
        }
    }

    /// Starts a workload, and returns its id. The inner error is a refusal, in words.
    ///
    /// # Errors
    ///
    /// [`Interrupted`].
    pub(super) async fn submit(&self, body: &Bytes) -> Result<Result<WorkloadId, String>, Interrupted> {
        match self.service.workload_submit(request(body, Instant::now())).await {
            Ok(accepted) => {
                self.used().push(accepted.id);
                Ok(Ok(accepted.id))
            }
            Err(refused) => words(refused).map(Err),
        }
    }

    /// Has the node run a bare command once.
    pub(super) async fn bare(&self, command: BareCommand) -> Result<BareRun, String> {
        let run = self.ask(|reply| Measure::Bare { command, reply }).await?;
        run.map_err(|failure| failure.reason)
    }

    /// Returns the memory of the instance that runs a workload.
    pub(super) async fn footprint(&self, workload: WorkloadId) -> Result<Footprint, String> {
        let footprint = self.ask(|reply| Measure::Footprint { workload, reply }).await?;
        footprint.map_err(|failure| failure.reason)
    }

    /// Waits a while until everything is there that a class keeps ready.
    pub(super) async fn filled(&self, isolation: IsolationClass) {
        // Where it is not, the workload is started otherwise, and that is told.
        drop(self.ask(|reply| Measure::Filled { isolation, reply }).await);
    }

    /// Returns what the node's machine is.
    pub(super) async fn machine(&self) -> Result<MachineFacts, String> {
        self.ask(|reply| Measure::Machine { reply }).await
    }

    async fn ask<T>(&self, what: impl FnOnce(oneshot::Sender<T>) -> Measure) -> Result<T, String> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            let command = Command::Measure(what(reply));
            self.service.commands.send(command).await.ok()?;
            answer.await.ok()
        };
        match timeout(NODE_WAIT_MAX, asked).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err("the node is gone".to_owned()),
            Err(_) => Err(format!("the node did not answer within {NODE_WAIT_MAX:?}")),
        }
    }

    /// Deletes the records and logs of the workloads that are over.
    pub(super) async fn forget(&self) {
        let used = std::mem::take(&mut *self.used());
        for slice in used.chunks(FORGET_SLICE) {
            let workloads = slice.to_vec();
            if let Err(error) = self
                .service
                .shared
                .store
                .write(Write::Delete(workloads.clone()))
                .await
            {
                // Their age will do it.
                tracing::warn!(error = %chain(&error), "workloads of a benchmark could not be deleted");
                return;
            }
            // A log whose node did not hear of this is without a record, and its node's to sweep.
            drop(self.service.commands.send(Command::Forget { workloads }).await);
        }
    }

    fn used(&self) -> MutexGuard<'_, Vec<WorkloadId>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns what a request of it has for a body.
pub(super) fn body(spec: &WorkloadSpec) -> Bytes {
    Bytes::from(serde_json::to_vec(spec).expect("a spec has string keys"))
}

fn request(body: &Bytes, arrived_at: Instant) -> Request {
    Request {
        body: body.clone(),
        share: None,
        idempotency_key: None,
        arrived_at,
    }
}

fn words(refused: Refused) -> Result<String, Interrupted> {
    let problem = refused.into_problem();
    if problem.slug() == ProblemKind::ShuttingDown.slug() {
        return Err(Interrupted);
    }
    Ok(problem.detail)
}
