//! A workload from its admission to its end.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use vulcan_api::{
    Code, ErrorCode, InstanceId, LogStream, Network, Program, Resources, Reuse, Runtime, StartKind,
    Timestamp, Usage, WorkloadError, WorkloadId,
};
use vulcan_backend::{Backend, Instance, Invocation, LogChunk, Outcome, Root};
use vulcan_bus::{Assignment, StopReason, WorkloadEnd, WorkloadReport, WorkloadState};

use super::{log::Log, tenancy::Tenancy};
use crate::{
    compile::{CompileError, CompileRequest},
    lifecycle::{Action, Event, State, Verdict, next},
    metrics::{Counted, InstanceState, Kind},
    node::{Node, Share},
    outcome::{chain, conclude, invoke_failure},
    pool::{After, Pool},
    roots::complete,
    store::InstanceRow,
};

/// Longer limits are taken for this one.
const TIMEOUT_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// What a supervisor is given.
pub(crate) struct Supervisor {
    pub(super) node: Arc<Node>,
    workload: WorkloadId,
    generation: u32,
    pub(super) kind: Kind,
    pub(super) resources: Resources,
    pub(super) network: Network,
    pub(super) owner: String,
    pub(super) reuse: Reuse,
    pub(super) program: Option<Program>,
    /// What the program stands on, for classes that stand on an image.
    pub(super) root: Option<Arc<Root>>,
    output_bytes_max: usize,
    stop: watch::Receiver<Option<StopReason>>,
    log: Log,
    /// Given back when the supervisor ends, after its instance is gone.
    _share: Share,
    pub(super) started_at: Timestamp,
    began: Instant,
    is_reported: bool,
    /// What is noted in the node's database.
    noted: Option<InstanceId>,
    tenancy: Option<Tenancy>,
    /// What is to be stopped when nobody waits any more.
    leftover: Option<Arc<dyn Instance>>,
    counted: Option<Counted>,
    start: Option<StartKind>,
    start_took: Duration,
    run_took: Duration,
    outcome: Option<Outcome>,
    pub(super) failure: Option<WorkloadError>,
    usage: Option<Usage>,
}

/// What came of waiting.
pub(super) enum Attended<T> {
    Done(T),
    Deadline,
    Stop(StopReason),
}

impl Supervisor {
    /// Makes the supervisor of an admitted assignment.
    pub(crate) fn new(
        node: Arc<Node>,
        assignment: Assignment,
        share: Share,
        stop: watch::Receiver<Option<StopReason>>,
    ) -> Self {
        let started_at = node.clock.now();
        let writer = node.logs.open(
            assignment.workload,
            assignment.generation,
            assignment.log_bytes_max,
        );
        Self {
            workload: assignment.workload,
            generation: assignment.generation,
            kind: Kind {
                isolation: assignment.isolation,
                runtime: assignment.program.runtime,
            },
            resources: assignment.resources,
            network: assignment.network,
            owner: assignment.owner,
            reuse: assignment.reuse,
            program: Some(assignment.program),
            root: None,
            output_bytes_max: assignment.output_bytes_max,
            stop,
            log: Log::open(writer),
            _share: share,
            started_at,
            began: Instant::now(),
            is_reported: false,
            noted: None,
            tenancy: None,
            leftover: None,
            counted: None,
            start: None,
            start_took: Duration::ZERO,
            run_took: Duration::ZERO,
            outcome: None,
            failure: None,
            usage: None,
            node,
        }
    }

    /// Brings the workload to its end, reports it, and leaves nothing behind.
    pub(crate) async fn run(mut self) {
        let mut state = State::Admitted;
        let mut event = Event::Began;
        loop {
            let (after, action) = next(state, event);
            state = after;
            event = match (action, state) {
                (Action::Start, _) => self.start().await,
                (Action::Invoke, _) => self.invoke().await,
                (Action::ReportThenStop, State::Stopping(verdict)) => {
                    self.measure().await;
                    // First this: whoever hears of the end may call again at once.
                    self.give_back();
                    self.report(verdict).await;
                    self.remove().await;
                    Event::Gone
                }
                (Action::StopThenReport, State::Stopping(verdict)) => {
                    self.retire(verdict);
                    self.remove().await;
                    self.measure().await;
                    self.report(verdict).await;
                    Event::Gone
                }
                (Action::Report, State::Ended(verdict)) => {
                    self.report(verdict).await;
                    return;
                }
                (Action::Rest | Action::ReportThenStop | Action::StopThenReport | Action::Report, _) => {
                    return;
                }
            };
        }
    }

    async fn start(&mut self) -> Event {
        match self.ready_program().await {
            Ok(()) => {}
            Err(event) => return event,
        }
        let Some(backend) = self.node.backends.get(&self.kind.isolation).map(Arc::clone) else {
            let message = format!(
                "node {} has no backend for {}",
                self.node.name, self.kind.isolation
            );
            self.failure = Some(WorkloadError::new(ErrorCode::StartFailed, message));
            return Event::StartFailed;
        };
        if let Err(event) = self.ready_root(&backend).await {
            self.start_took = self.began.elapsed();
            return event;
        }
        match self.obtain(&backend).await {
            Ok(tenancy) => self.ready(tenancy),
            Err(event) => {
                self.start_took = self.began.elapsed();
                event
            }
        }
    }

    fn ready(&mut self, tenancy: Tenancy) -> Event {
        tracing::debug!(instance.id = %tenancy.id, start = tenancy.start.as_str(), "instance is there");
        self.node.runs_in(&self.workload, &tenancy.instance);
        self.start = Some(tenancy.start);
        self.start_took = self.began.elapsed();
        // The pool counts what it lends.
        let is_own = matches!(
            tenancy.start,
            StartKind::Cold | StartKind::Pooled | StartKind::Restored
        );
        self.counted = is_own.then(|| self.node.metrics.instance(self.kind, InstanceState::Running));
        self.tenancy = Some(tenancy);
        Event::Started
    }

    /// Notes an instance, where it would outlive this process.
    pub(super) fn note(&mut self, backend: &Arc<dyn Backend>, id: InstanceId) {
        if !backend.capabilities().outlives_server {
            return;
        }
        self.noted = Some(id);
        self.node.store.instance_put(InstanceRow {
            id,
            workload: self.workload,
            isolation: self.kind.isolation,
            created_at: self.started_at,
        });
    }

    /// Forgets the noted instance: it is gone, or somebody else's.
    pub(super) fn forget_note(&mut self) {
        if let Some(id) = self.noted.take() {
            self.node.store.instance_delete(id);
        }
    }

    /// Has a program compiled that needs it; what is to be run afterwards is an executable.
    async fn ready_program(&mut self) -> Result<(), Event> {
        let source = match self.program.take() {
            Some(program) if program.runtime == Runtime::Go => program,
            other => {
                self.program = other;
                return Ok(());
            }
        };
        let node = Arc::clone(&self.node);
        let request = CompileRequest {
            workload: self.workload,
            isolation: self.kind.isolation,
            resources: self.resources,
            code: source.code.clone(),
        };
        let compiled = async move { node.compiler.executable(&node, request).await };
        match self.attend(compiled, None).await {
            Attended::Done(Ok(bytes)) => {
                let code = Code::File {
                    name: "program".to_owned(),
                    bytes,
                };
                self.program = Some(Program {
                    runtime: Runtime::Binary,
                    code,
                    ..source
                });
                Ok(())
            }
            Attended::Done(Err(error)) => {
                self.start_took = self.began.elapsed();
                if let CompileError::Failed { message } = &error {
                    let bytes = format!("{message}\n").into();
                    // A log that cannot be written has said so.
                    let _ = self.log.sink.try_send(LogChunk {
                        stream: LogStream::Stderr,
                        bytes,
                    });
                }
                self.failure = Some(error.into());
                Err(Event::StartFailed)
            }
            Attended::Stop(reason) => Err(Event::Stop(reason)),
            Attended::Deadline => Err(Event::StartFailed),
        }
    }

    /// Has the image that the program stands on, and fills in what the program leaves to it.
    async fn ready_root(&mut self, backend: &Arc<dyn Backend>) -> Result<(), Event> {
        let Some(program) = self.program.take() else {
            return Err(Event::StartFailed);
        };
        let (node, backend) = (Arc::clone(&self.node), Arc::clone(backend));
        let (runtime, image) = (program.runtime, program.image.clone());
        let standing = async move { node.stand(backend.as_ref(), runtime, image.as_ref()).await };
        let limit = self.node.intervals.image;
        let failure = match self.attend(standing, Some(Instant::now() + limit)).await {
            Attended::Done(Ok(None)) => {
                self.program = Some(program);
                return Ok(());
            }
            Attended::Done(Ok(Some(ready))) => match complete(program, &ready.config) {
                Ok(program) => {
                    self.program = Some(program);
                    self.root = Some(ready.root);
                    return Ok(());
                }
                Err(failure) => failure,
            },
            Attended::Done(Err(failure)) => failure,
            Attended::Stop(reason) => return Err(Event::Stop(reason)),
            Attended::Deadline => {
                let message =
                    format!("its image was not here after {limit:?}: pull it before, then run this again");
                WorkloadError::new(ErrorCode::ImageUnavailable, message)
            }
        };
        self.failure = Some(failure);
        Err(Event::StartFailed)
    }

    async fn invoke(&mut self) -> Event {
        let (Some(tenancy), Some(program)) = (&self.tenancy, self.program.take()) else {
            return Event::Lost;
        };
        let limit = Duration::try_from_secs_f64(self.resources.timeout_s)
            .unwrap_or(TIMEOUT_MAX)
            .min(TIMEOUT_MAX);
        let invocation = Invocation {
            workload: self.workload,
            program,
            timeout: limit,
            output_bytes_max: self.output_bytes_max,
            mode: tenancy.mode,
        };
        let (instance, sink) = (Arc::clone(&tenancy.instance), self.log.sink.clone());
        let handed_over = Instant::now();
        let work = async move { instance.invoke(invocation, sink).await };
        let attended = self.attend(work, Some(handed_over + limit)).await;
        self.run_took = handed_over.elapsed();
        match attended {
            Attended::Done(Ok(outcome)) => {
                let prepared_in = outcome.prepared_in.min(self.run_took);
                self.start_took += prepared_in;
                self.run_took -= prepared_in;
                self.outcome = Some(outcome);
                Event::Finished
            }
            Attended::Done(Err(error)) => {
                tracing::warn!(error = chain(&error), "instance was lost");
                self.failure = Some(match self.tenancy.as_ref().and_then(Tenancy::fate) {
                    Some(why) => shared_fate(why),
                    None => invoke_failure(&error),
                });
                Event::Lost
            }
            Attended::Deadline => Event::Deadline,
            Attended::Stop(reason) => Event::Stop(reason),
        }
    }

    /// Waits for `work`; beside it writes the log, reports the workload as running when it is time, and listens.
    ///
    /// `work` is dropped at the deadline and at a stop. A result that is there counts more than either.
    pub(super) async fn attend<T>(
        &mut self,
        work: impl Future<Output = T>,
        deadline: Option<Instant>,
    ) -> Attended<T> {
        tokio::pin!(work);
        let report_at = self.began + self.node.intervals.running_after;
        let first = match deadline {
            Some(deadline) if self.is_reported => deadline,
            Some(deadline) => deadline.min(report_at),
            None => report_at,
        };
        // One timer for both, for most workloads need neither.
        let timer = sleep_until(first);
        tokio::pin!(timer);
        loop {
            let is_armed = deadline.is_some() || !self.is_reported;
            // Every branch is cancel-safe: futures are polled by reference, and waiting loses nothing.
            tokio::select! {
                biased;
                value = &mut work => return Attended::Done(value),
                reason = stopped(&mut self.stop) => return Attended::Stop(reason),
                () = &mut timer, if is_armed => {
                    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                        return Attended::Deadline;
                    }
                    self.report_running();
                    if let Some(deadline) = deadline {
                        timer.as_mut().reset(deadline);
                    }
                }
                () = self.log.write() => {}
            }
        }
    }

    fn report_running(&mut self) {
        self.is_reported = true;
        self.node.outbox.tell(WorkloadReport {
            workload: self.workload,
            generation: self.generation,
            state: WorkloadState::Running {
                started_at: self.started_at,
            },
        });
    }

    /// Asks the instance what it used.
    async fn measure(&mut self) {
        let Some(tenancy) = &mut self.tenancy else { return };
        let reading = Pool::reading(tenancy.instance.as_ref()).await;
        self.usage = tenancy.charge(reading);
        let peak = self.usage.and_then(|usage| usage.mem_peak_mb);
        self.node
            .metrics
            .started(self.kind, tenancy.start, self.start_took);
        self.node.metrics.ran(self.kind, self.run_took, peak);
    }

    /// Gives the instance to the pool where it can serve again; what cannot is stopped later.
    fn give_back(&mut self) {
        let Some(tenancy) = self.tenancy.take() else {
            return;
        };
        let instance = Arc::clone(&tenancy.instance);
        let reusable = self.outcome.as_ref().and_then(|outcome| outcome.reusable);
        match tenancy.end(reusable) {
            After::Stop => self.leftover = Some(instance),
            After::Kept | After::LeftToOthers => {
                self.counted = None;
                self.forget_note();
            }
        }
    }

    /// Keeps the instance from serving anybody else.
    fn retire(&self, verdict: Verdict) {
        let why = match verdict {
            Verdict::TimedOut => "another call in it reached its wall-clock limit",
            Verdict::Stopped(StopReason::Killed) => "another call in it was killed",
            Verdict::Stopped(StopReason::Shutdown) => "the server was shut down",
            Verdict::Finished | Verdict::NotStarted | Verdict::Lost => "another call in it broke it",
        };
        if let Some(tenancy) = &self.tenancy {
            tenancy.retire(why);
        }
    }

    /// Ends the instance, while what it still says goes to the log.
    async fn remove(&mut self) {
        let tenant = self.tenancy.as_ref().map(|tenancy| Arc::clone(&tenancy.instance));
        let Some(instance) = tenant.or_else(|| self.leftover.take()) else {
            return;
        };
        self.counted = Some(self.node.metrics.instance(self.kind, InstanceState::Stopping));
        let stop = timeout(self.node.intervals.stop, instance.stop(Duration::ZERO));
        match self.log.beside(stop).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(error = chain(&error), "instance left something behind"),
            Err(_) => tracing::error!("instance did not stop in time"),
        }
        self.counted = None;
        self.forget_note();
        if let Some(tenancy) = &mut self.tenancy {
            tenancy.gone();
        }
    }

    /// Finishes the log and reports the end.
    async fn report(&mut self, verdict: Verdict) {
        let log = self.log.finish().await;
        let conclusion = conclude(
            verdict,
            self.outcome.take(),
            self.failure.take(),
            self.resources.timeout_s,
        );
        let end = WorkloadEnd {
            status: conclusion.status,
            output: conclusion.output,
            exit_code: conclusion.exit_code,
            error: conclusion.error,
            usage: self.usage,
            start: self.start,
            started_at: self.started_at,
            start_ms: millis(self.start_took),
            run_ms: millis(self.run_took),
            finished_at: self.node.clock.now(),
            logs_truncated: log.truncated,
        };
        if log.truncated {
            self.node.metrics.log_truncated();
        }
        // At 4,000 calls a second a line each would cost as much as the calls; records and metrics have it.
        tracing::debug!(
            status = end.status.as_str(),
            elapsed_ms = millis(self.began.elapsed()),
            "workload ended"
        );
        let state = WorkloadState::Ended(Box::new(end));
        // In this order: what leaves is always in the outbox already.
        self.node.outbox.end(WorkloadReport {
            workload: self.workload,
            generation: self.generation,
            state,
        });
        self.node.leave(&self.workload);
    }
}

/// Returns what the user is told whose call ended because of another one.
fn shared_fate(why: &str) -> WorkloadError {
    let message =
        format!("the instance was stopped in the middle of this call: {why}; it can be called again");
    WorkloadError::new(ErrorCode::InstanceLost, message)
}

/// Waits for the order to stop.
async fn stopped(stop: &mut watch::Receiver<Option<StopReason>>) -> StopReason {
    let reason = stop
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|reason| *reason);
    match reason {
        Some(reason) => reason,
        // Nobody can ask any more.
        None => std::future::pending().await,
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
