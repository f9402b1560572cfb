//! One task per workload: the only writer of its instance.
//!
//! What happens next is decided by [`lifecycle::next`](crate::lifecycle::next); here it is done.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use vulcan_api::{
    Code, ErrorCode, InstanceId, LogStream, Program, Resources, Runtime, StartKind, Timestamp, Usage,
    WorkloadError, WorkloadId,
};
use vulcan_backend::{
    Backend, BackendError, Disposition, Instance, Invocation, InvokeMode, LogChunk, LogSink, Outcome,
    StartRequest,
};
use vulcan_bus::{Assignment, StopReason, WorkloadEnd, WorkloadReport, WorkloadState};

use crate::{
    compile::{CompileError, CompileRequest},
    host,
    lifecycle::{Action, Event, State, Verdict, next},
    logs,
    metrics::{Counted, InstanceState, Kind},
    node::{Node, Share},
    outcome::{chain, conclude, invoke_failure, start_failure},
    store::InstanceRow,
};

/// How many chunks of output wait for the log; a program that is faster waits.
const CHUNKS_LEN_MAX: usize = 16;
/// How often a start is tried in all, where the backend says that it may pass.
const START_ATTEMPTS_MAX: u32 = 4;
/// The pause before the second start; it doubles.
const START_PAUSE: Duration = Duration::from_millis(20);
/// How long an instance may take to say what it used.
const USAGE_DEADLINE: Duration = Duration::from_secs(5);
/// Longer limits are taken for this one.
const TIMEOUT_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// What a supervisor is given.
pub(crate) struct Supervisor {
    node: Arc<Node>,
    workload: WorkloadId,
    generation: u32,
    kind: Kind,
    resources: Resources,
    request: StartRequest,
    program: Option<Program>,
    output_bytes_max: usize,
    stop: watch::Receiver<Option<StopReason>>,
    log: Log,
    /// Given back when the supervisor ends, after its instance is gone.
    _share: Share,
    started_at: Timestamp,
    began: Instant,
    is_reported: bool,
    instance: Option<Arc<dyn Instance>>,
    counted: Option<Counted>,
    start: Option<StartKind>,
    start_took: Duration,
    run_took: Duration,
    outcome: Option<Outcome>,
    failure: Option<WorkloadError>,
    usage: Option<Usage>,
}

/// The log of a workload, written beside whatever its supervisor waits for.
struct Log {
    sink: LogSink,
    over: CancellationToken,
    pump: Pin<Box<dyn Future<Output = logs::Ended> + Send>>,
    ended: Option<logs::Ended>,
}

/// What came of waiting.
enum Attended<T> {
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
        let (sink, chunks) = mpsc::channel(CHUNKS_LEN_MAX);
        let over = CancellationToken::new();
        let log = Log {
            sink,
            over: over.clone(),
            pump: Box::pin(writer.pump(chunks, over)),
            ended: None,
        };
        Self {
            workload: assignment.workload,
            generation: assignment.generation,
            kind: Kind {
                isolation: assignment.isolation,
                runtime: assignment.program.runtime,
            },
            resources: assignment.resources,
            request: StartRequest {
                prepare: None,
                instance: InstanceId::generate(started_at, host::random()),
                resources: assignment.resources,
                network: assignment.network,
            },
            program: Some(assignment.program),
            output_bytes_max: assignment.output_bytes_max,
            stop,
            log,
            _share: share,
            started_at,
            began: Instant::now(),
            is_reported: false,
            instance: None,
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
                    self.report(verdict).await;
                    self.remove().await;
                    Event::Gone
                }
                (Action::StopThenReport, State::Stopping(verdict)) => {
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
        self.node.store.instance_put(InstanceRow {
            id: self.request.instance,
            workload: self.workload,
            isolation: self.kind.isolation,
            created_at: self.started_at,
        });
        let request = self.request.clone();
        let event = match self.attend(start_patiently(backend, request), None).await {
            Attended::Done(Ok(instance)) => return self.ready(instance),
            Attended::Done(Err(error)) => {
                if error.disposition() == Disposition::TryAnotherNode {
                    self.node.look.notify_one();
                }
                tracing::warn!(error = chain(&error), "instance could not be started");
                self.failure = Some(start_failure(&error));
                Event::StartFailed
            }
            Attended::Stop(reason) => Event::Stop(reason),
            Attended::Deadline => Event::StartFailed,
        };
        self.start_took = self.began.elapsed();
        self.node.store.instance_delete(self.request.instance);
        event
    }

    fn ready(&mut self, instance: Arc<dyn Instance>) -> Event {
        tracing::debug!(instance.id = %self.request.instance, "instance started");
        self.node.runs_in(&self.workload, &instance);
        self.instance = Some(instance);
        self.start = Some(StartKind::Cold);
        self.start_took = self.began.elapsed();
        self.counted = Some(self.node.metrics.instance(self.kind, InstanceState::Running));
        Event::Started
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

    async fn invoke(&mut self) -> Event {
        let (Some(instance), Some(program)) = (self.instance.clone(), self.program.take()) else {
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
            mode: InvokeMode::Once,
        };
        let sink = self.log.sink.clone();
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
                self.failure = Some(invoke_failure(&error));
                Event::Lost
            }
            Attended::Deadline => Event::Deadline,
            Attended::Stop(reason) => Event::Stop(reason),
        }
    }

    /// Waits for `work`; beside it writes the log, reports the workload as running when it is time, and listens.
    ///
    /// `work` is dropped at the deadline and at a stop. A result that is there counts more than either.
    async fn attend<T>(&mut self, work: impl Future<Output = T>, deadline: Option<Instant>) -> Attended<T> {
        tokio::pin!(work);
        let report_at = self.began + self.node.intervals.running_after;
        loop {
            // Every branch is cancel-safe: futures are polled by reference, and waiting loses nothing.
            tokio::select! {
                biased;
                value = &mut work => return Attended::Done(value),
                reason = stopped(&mut self.stop) => return Attended::Stop(reason),
                () = sleep_until(deadline.unwrap_or(report_at)), if deadline.is_some() => return Attended::Deadline,
                () = self.log.write() => {}
                () = sleep_until(report_at), if !self.is_reported => self.report_running(),
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
        let Some(instance) = &self.instance else { return };
        self.usage = match timeout(USAGE_DEADLINE, instance.usage()).await {
            Ok(Ok(usage)) => Some(usage),
            Ok(Err(error)) => {
                tracing::debug!(error = chain(&error), "usage is unknown");
                None
            }
            Err(_) => {
                tracing::warn!("instance did not say what it used");
                None
            }
        };
        let peak = self.usage.and_then(|usage| usage.mem_peak_mb);
        self.node
            .metrics
            .started(self.kind, StartKind::Cold, self.start_took);
        self.node.metrics.ran(self.kind, self.run_took, peak);
    }

    /// Ends the instance, while what it still says goes to the log.
    async fn remove(&mut self) {
        let Some(instance) = self.instance.clone() else {
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
        self.node.store.instance_delete(self.request.instance);
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
        tracing::info!(
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

impl Log {
    /// Writes what comes; never returns before the log is over, and then never again.
    async fn write(&mut self) {
        if self.ended.is_some() {
            std::future::pending::<()>().await;
        }
        self.ended = Some(self.pump.as_mut().await);
    }

    /// Waits for `work`, and writes what comes meanwhile.
    async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                value = &mut work => return value,
                () = self.write() => {}
            }
        }
    }

    /// Writes what is left.
    async fn finish(&mut self) -> logs::Ended {
        self.over.cancel();
        match self.ended {
            Some(ended) => ended,
            None => {
                let ended = self.pump.as_mut().await;
                self.ended = Some(ended);
                ended
            }
        }
    }
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

/// Starts an instance, again where the backend says that it may pass. May be dropped at any time.
async fn start_patiently(
    backend: Arc<dyn Backend>,
    request: StartRequest,
) -> Result<Arc<dyn Instance>, BackendError> {
    let mut pause = START_PAUSE;
    let mut attempt = 1;
    loop {
        let span = tracing::info_span!("start", instance.id = %request.instance, attempt);
        let error = match backend.start(request.clone()).instrument(span).await {
            Ok(instance) => return Ok(instance),
            Err(error) => error,
        };
        if error.disposition() != Disposition::RetryHere || attempt == START_ATTEMPTS_MAX {
            return Err(error);
        }
        tracing::debug!(error = chain(&error), attempt, "instance start is tried again");
        // Up to twice the pause, so that many that failed together do not come back together.
        let percent = u32::try_from(host::random() % 101).unwrap_or(0);
        tokio::time::sleep(pause + pause * percent / 100).await;
        pause *= 2;
        attempt += 1;
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
