//! A node that speaks the bus and runs nothing: what a workload does is said by its code.
//!
//! `ok` completes with its input as output, `hold` runs until the test ends it, `drop` is never heard of again,
//! `reject-once` finds no room the first time, `unfinal` ends with a status that is none, `no-run` ends without a word
//! before.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle};
use vulcan_api::{
    BackendInfo, BareCommand, ErrorCode, IsolationClass, LogLine, LogStream, NodeCapacity, NodeInfo,
    Readiness, Runtime, RuntimeInfo, StartKind, Status, Timestamp, Usage, WorkloadError, WorkloadId,
};
use vulcan_bus::{
    Assignment, BareRun, Command, LogBatch, LogRequest, MachineFacts, Measure, MeasureFailure, NodeEnd,
    NodeStatus, Report, StopReason, WorkloadEnd, WorkloadReport, WorkloadState,
};

use crate::node_images;

/// A log and whether it is over.
type Log = (Vec<LogLine>, bool);

/// What a node keeps between two runs of it.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Everything assigned and not acknowledged, with its end where it has one.
    pub(crate) has: BTreeMap<WorkloadId, (Assignment, Option<WorkloadEnd>)>,
    pub(crate) assigned: Vec<Assignment>,
    pub(crate) stopped: Vec<(WorkloadId, StopReason)>,
    pub(crate) acknowledged: Vec<WorkloadId>,
    pub(crate) forgotten: HashSet<WorkloadId>,
    pub(crate) images: Arc<Mutex<node_images::Seen>>,
    logs: BTreeMap<WorkloadId, watch::Sender<Log>>,
    rejected: HashSet<WorkloadId>,
}

#[derive(Clone)]
pub(crate) struct FakeNode {
    pub(crate) memory: Arc<Mutex<Memory>>,
    reports: tokio::sync::mpsc::Sender<Report>,
    instances_max: u32,
}

pub(crate) fn start(
    end: NodeEnd,
    memory: Arc<Mutex<Memory>>,
    instances_max: u32,
) -> (FakeNode, JoinHandle<()>) {
    let node = FakeNode {
        memory,
        reports: end.reports,
        instances_max,
    };
    let task = tokio::spawn(node.clone().run(end.commands));
    (node, task)
}

impl FakeNode {
    async fn run(self, mut commands: tokio::sync::mpsc::Receiver<Command>) {
        self.report_status().await;
        let mut tick = tokio::time::interval(Duration::from_millis(500));
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => return,
                },
                _ = tick.tick() => self.report_status().await,
            }
        }
    }

    pub(crate) async fn report_status(&self) {
        let name: vulcan_api::NodeName = "newt".parse().unwrap();
        let node = NodeInfo {
            name: name.clone(),
            ready: true,
            kernel: "6.1".to_owned(),
            version: "0.1.0".to_owned(),
            capacity: NodeCapacity {
                cpus: 2,
                mem_mb: 4096,
                mem_used_mb: 128,
                instances_max: self.instances_max,
                instances: 1,
            },
            seen_at: Timestamp::from_millis(0),
            started_at: Timestamp::from_millis(0),
        };
        let runtimes = Runtime::ALL
            .into_iter()
            .map(|runtime| RuntimeInfo {
                runtime,
                available: runtime != Runtime::Go,
                detail: if runtime == Runtime::Go {
                    "go is not installed"
                } else {
                    "1.0"
                }
                .to_owned(),
                packages: if runtime == Runtime::Go {
                    vec!["golang-go".to_owned()]
                } else {
                    Vec::new()
                },
            })
            .collect();
        let backend = BackendInfo {
            pools: Vec::new(),
            isolation: IsolationClass::Sandbox,
            node: name,
            readiness: Readiness::Ready,
            runtimes,
            abilities: vec!["exec".to_owned()],
        };
        // Runs images and nothing else, so that what else there is stays the sandbox's.
        let image = |info: &RuntimeInfo| info.runtime == Runtime::Image;
        let gvisor = BackendInfo {
            isolation: IsolationClass::Gvisor,
            runtimes: backend
                .runtimes
                .iter()
                .filter(|info| image(info))
                .cloned()
                .collect(),
            ..backend.clone()
        };
        let workloads = self.lock(|memory| {
            memory
                .has
                .iter()
                .map(|(id, (a, _))| (*id, a.generation))
                .collect()
        });
        self.send(Report::Status(Box::new(NodeStatus {
            node,
            backends: vec![backend, gvisor],
            workloads,
        })))
        .await;
    }

    async fn command(&self, command: Command) {
        match command {
            Command::Assign(assignment) => self.assign(*assignment).await,
            Command::Stop { workload, reason } => {
                self.lock(|memory| memory.stopped.push((workload, reason)));
                if self.lock(|memory| memory.has.get(&workload).is_some_and(|(_, end)| end.is_none())) {
                    let status = match reason {
                        StopReason::Killed => (Status::Killed, ErrorCode::Killed),
                        StopReason::Shutdown => (Status::Failed, ErrorCode::NodeRestarted),
                    };
                    self.finish(
                        workload,
                        ended(status.0, Some(WorkloadError::new(status.1, "stopped"))),
                    )
                    .await;
                }
            }
            Command::Acknowledge { workload, .. } => self.lock(|memory| {
                memory.acknowledged.push(workload);
                memory.has.remove(&workload);
            }),
            Command::ReadLog(request) => {
                tokio::spawn(read_log(self.log(request.workload), request));
            }
            Command::Forget { workloads } => self.lock(|memory| memory.forgotten.extend(workloads)),
            Command::Measure(what) => measure(what),
            Command::Image(what) => {
                let seen = self.lock(|memory| Arc::clone(&memory.images));
                tokio::spawn(node_images::obey(what, seen));
            }
        }
    }

    async fn assign(&self, assignment: Assignment) {
        let (id, generation) = (assignment.workload, assignment.generation);
        let code = String::from_utf8_lossy(assignment.program.code.bytes()).into_owned();
        let input = serde_json::from_slice(&assignment.program.input).unwrap();
        self.lock(|memory| memory.assigned.push(assignment.clone()));
        if code == "reject-once" && self.lock(|memory| memory.rejected.insert(id)) {
            let state = WorkloadState::Rejected {
                reason: "memory".to_owned(),
            };
            return self.report(id, generation, state).await;
        }
        if code == "drop" {
            return;
        }
        self.lock(|memory| memory.has.insert(id, (assignment, None)));
        if code != "no-run" {
            let started_at = Timestamp::from_millis(1_763_000_000_000);
            self.report(id, generation, WorkloadState::Running { started_at })
                .await;
        }
        match code.as_str() {
            "hold" => {}
            "unfinal" => self.finish(id, ended(Status::Running, None)).await,
            _ => {
                self.finish(
                    id,
                    WorkloadEnd {
                        output: Some(input),
                        ..ended(Status::Completed, None)
                    },
                )
                .await;
            }
        }
    }

    /// Ends a workload.
    pub(crate) async fn finish(&self, id: WorkloadId, end: WorkloadEnd) {
        let generation = self.lock(|memory| {
            let entry = memory.has.get_mut(&id).unwrap();
            entry.1 = Some(end.clone());
            entry.0.generation
        });
        self.log(id).send_modify(|log| log.1 = true);
        self.report(id, generation, WorkloadState::Ended(Box::new(end)))
            .await;
    }

    /// Adds a line to a log.
    pub(crate) fn log_line(&self, id: WorkloadId, text: &str) {
        self.log(id).send_modify(|(lines, _)| {
            lines.push(LogLine {
                id: lines.len() as u64 * 10 + 10,
                time: Timestamp::from_millis(1_763_000_000_000),
                stream: LogStream::Stdout,
                text: text.to_owned(),
                partial: false,
            });
        });
    }

    fn log(&self, id: WorkloadId) -> watch::Sender<Log> {
        self.lock(|memory| {
            memory
                .logs
                .entry(id)
                .or_insert_with(|| watch::channel(Log::default()).0)
                .clone()
        })
    }

    async fn report(&self, workload: WorkloadId, generation: u32, state: WorkloadState) {
        self.send(Report::Workload(Box::new(WorkloadReport {
            workload,
            generation,
            state,
        })))
        .await;
    }

    async fn send(&self, report: Report) {
        // A control plane that is gone hears nothing.
        drop(self.reports.send(report).await);
    }

    pub(crate) fn lock<T>(&self, look: impl FnOnce(&mut Memory) -> T) -> T {
        look(&mut self.memory.lock().unwrap())
    }
}

/// The end of a workload that ran.
pub(crate) fn ended(status: Status, error: Option<WorkloadError>) -> WorkloadEnd {
    WorkloadEnd {
        status,
        output: None,
        exit_code: Some(i32::from(status != Status::Completed)),
        error,
        usage: Some(Usage {
            cpu_ms: 3.0,
            mem_peak_mb: Some(31.0),
        }),
        start: Some(StartKind::Cold),
        started_at: Timestamp::from_millis(1_763_000_000_000),
        start_ms: 2.0,
        run_ms: 0.5,
        finished_at: Timestamp::from_millis(1_763_000_000_003),
        logs_truncated: false,
    }
}

/// Has Python and nothing else, and knows no instance.
fn measure(what: Measure) {
    let failure = |reason: &str| MeasureFailure {
        reason: reason.to_owned(),
    };
    // A control plane that is gone hears nothing.
    match what {
        Measure::Machine { reply } => drop(reply.send(MachineFacts {
            cpu: "abacus".to_owned(),
            memory_mb: 4096,
            versions: BTreeMap::from([("python3".to_owned(), "Python 3.11.2".to_owned())]),
        })),
        Measure::Bare { command, reply } => drop(reply.send(match command {
            BareCommand::Python => Ok(BareRun {
                text: "python3 -c pass".to_owned(),
                elapsed_ms: 7.0,
            }),
            BareCommand::Node
            | BareCommand::Bubblewrap
            | BareCommand::Deno
            | BareCommand::DenoBlank
            | BareCommand::DenoBlankTypescript
            | BareCommand::Runc
            | BareCommand::Runsc
            | BareCommand::Docker => Err(failure("it is not installed")),
        })),
        Measure::Filled { reply, .. } => drop(reply.send(true)),
        Measure::Footprint { reply, .. } => drop(reply.send(Err(failure("nothing runs here")))),
    }
}

async fn read_log(log: watch::Sender<Log>, request: LogRequest) {
    let mut log = log.subscribe();
    let mut after = request.after;
    loop {
        let (lines, is_over) = log.borrow_and_update().clone();
        let fresh: Vec<LogLine> = lines.into_iter().filter(|line| line.id > after).collect();
        if let Some(last) = fresh.last() {
            after = last.id;
            if request.reply.send(Ok(LogBatch { lines: fresh })).await.is_err() {
                return;
            }
        }
        if is_over || !request.follow || log.changed().await.is_err() {
            return;
        }
    }
}
