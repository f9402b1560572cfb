//! The control plane's side of the bus, as small as a test needs it.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::{sync::mpsc, time::timeout};
use vulcan_api::{
    Code, IsolationClass, LogLine, Network, Program, Resources, Runtime, SystemClock, WorkloadId,
};
use vulcan_backend::simulator::Simulator;
use vulcan_bus::{
    Assignment, Command, ControlEnd, LogBatch, LogFailure, LogRequest, NodeStatus, Report, StopReason,
    WorkloadEnd, WorkloadReport, WorkloadState, local,
};
use vulcan_node::{Capacity, Error, Handle, Metrics, Options};

/// More than anything here takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Bench {
    pub(crate) simulator: Simulator,
    pub(crate) handle: Handle,
    pub(crate) directory: Arc<TempDir>,
    pub(crate) registry: Arc<Mutex<Registry>>,
    pub(crate) control: ControlEnd,
    pub(crate) acknowledges: bool,
    pub(crate) statuses: Vec<NodeStatus>,
    ended: BTreeMap<WorkloadId, WorkloadEnd>,
}

/// Options with short intervals.
pub(crate) fn options(directory: &Path, simulator: &Simulator, registry: &mut Registry) -> Options {
    let mut options = Options::new(
        "newt".parse().unwrap(),
        directory.join("data"),
        directory.join("cache"),
        Metrics::register(registry),
    );
    options.backends = vec![Arc::new(simulator.clone())];
    options.capacity = Capacity {
        mem_mb: 100_000,
        instances_max: 256,
    };
    // Most tests count instances; those of the pools turn it on.
    options.pools.enabled = false;
    options.intervals.resend_min = Duration::from_millis(50);
    options.intervals.acknowledge = Duration::from_millis(200);
    options
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        Self::at(directory, Simulator::new(), change).await.unwrap()
    }

    pub(crate) async fn at(
        directory: Arc<TempDir>,
        simulator: Simulator,
        change: impl FnOnce(&mut Options),
    ) -> Result<Self, Error> {
        let mut registry = Registry::default();
        let mut options = options(directory.path(), &simulator, &mut registry);
        change(&mut options);
        let (control, end) = local();
        let handle = vulcan_node::start(options, end).await?;
        Ok(Self {
            simulator,
            handle,
            directory,
            registry: Arc::new(Mutex::new(registry)),
            control,
            acknowledges: true,
            statuses: Vec::new(),
            ended: BTreeMap::new(),
        })
    }

    /// Sends an assignment, and returns whose it is.
    pub(crate) async fn assign(&self, assignment: Assignment) -> WorkloadId {
        let workload = assignment.workload;
        self.command(Command::Assign(Box::new(assignment))).await;
        workload
    }

    pub(crate) async fn command(&self, command: Command) {
        timeout(PATIENCE, self.control.commands.send(command))
            .await
            .unwrap()
            .unwrap();
    }

    pub(crate) async fn kill(&self, workload: WorkloadId) {
        self.command(Command::Stop {
            workload,
            reason: StopReason::Killed,
        })
        .await;
    }

    /// Waits for the next report on a workload, of any workload; keeps statuses aside.
    pub(crate) async fn report(&mut self) -> WorkloadReport {
        loop {
            match timeout(PATIENCE, self.control.reports.recv())
                .await
                .unwrap()
                .unwrap()
            {
                Report::Status(status) => self.statuses.push(*status),
                Report::Workload(report) => return *report,
            }
        }
    }

    /// Waits for a report on the node as a whole that is as wanted.
    pub(crate) async fn status(&mut self, is_wanted: impl Fn(&NodeStatus) -> bool) -> NodeStatus {
        loop {
            match timeout(PATIENCE, self.control.reports.recv())
                .await
                .unwrap()
                .unwrap()
            {
                Report::Status(status) if is_wanted(&status) => return *status,
                Report::Status(_) => {}
                Report::Workload(report) => self.note(*report).await,
            }
        }
    }

    /// Waits for a workload's end, and acknowledges every end that it sees.
    pub(crate) async fn end(&mut self, workload: WorkloadId) -> WorkloadEnd {
        loop {
            if let Some(end) = self.ended.get(&workload) {
                return end.clone();
            }
            let report = self.report().await;
            self.note(report).await;
        }
    }

    async fn note(&mut self, report: WorkloadReport) {
        if let WorkloadState::Ended(end) = report.state {
            self.ended.insert(report.workload, *end);
            if self.acknowledges {
                self.acknowledge(report.workload, report.generation).await;
            }
        }
    }

    pub(crate) async fn acknowledge(&self, workload: WorkloadId, generation: u32) {
        self.command(Command::Acknowledge { workload, generation }).await;
    }

    /// Runs a program to its end.
    pub(crate) async fn run(&mut self, text: &str) -> WorkloadEnd {
        let workload = self.assign(program(text)).await;
        self.end(workload).await
    }

    pub(crate) async fn read(
        &self,
        workload: WorkloadId,
        after: u64,
        follow: bool,
    ) -> mpsc::Receiver<Result<LogBatch, LogFailure>> {
        let (reply, batches) = mpsc::channel(4);
        self.command(Command::ReadLog(LogRequest {
            workload,
            after,
            follow,
            reply,
        }))
        .await;
        batches
    }

    /// Reads a log to its end.
    pub(crate) async fn log(&self, workload: WorkloadId) -> Vec<LogLine> {
        gather(self.read(workload, 0, true).await).await
    }

    pub(crate) fn log_path(&self, workload: WorkloadId) -> std::path::PathBuf {
        let name = workload.to_string();
        self.directory
            .path()
            .join("data/logs")
            .join(&name[name.len() - 2..])
            .join(format!("{name}.log"))
    }

    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry.lock().unwrap()).unwrap();
        text
    }
}

/// Gathers all lines of a reply.
pub(crate) async fn gather(mut batches: mpsc::Receiver<Result<LogBatch, LogFailure>>) -> Vec<LogLine> {
    let mut lines = Vec::new();
    while let Some(batch) = timeout(PATIENCE, batches.recv()).await.unwrap() {
        lines.extend(batch.unwrap().lines);
    }
    lines
}

pub(crate) fn texts(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

pub(crate) fn new_id() -> WorkloadId {
    use std::hash::{BuildHasher, RandomState};
    let half = || u128::from(RandomState::new().hash_one(0_u8));
    WorkloadId::generate(vulcan_api::Clock::now(&SystemClock), half() << 64 | half())
}

/// An assignment of a program for the simulator.
pub(crate) fn program(text: &str) -> Assignment {
    Assignment {
        owner: "default".to_owned(),
        reuse: vulcan_api::Reuse::None,
        workload: new_id(),
        generation: 1,
        isolation: IsolationClass::Sandbox,
        program: Program {
            image: None,
            runtime: Runtime::Bash,
            code: Code::File {
                name: "main.sim".to_owned(),
                bytes: Bytes::copy_from_slice(text.as_bytes()),
            },
            input: Bytes::from_static(b"null"),
            args: Vec::new(),
            env: BTreeMap::new(),
        },
        resources: Resources::default(),
        network: Network::None,
        output_bytes_max: 1 << 20,
        log_bytes_max: 10 << 20,
    }
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what} did not come true");
}
