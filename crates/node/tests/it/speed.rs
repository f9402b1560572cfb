//! How long the node takes for a warm call, its backend left out: printed, and never a reason to fail.
//!
//! `cargo test --release -p vulcan-node --test it -- --ignored --nocapture warm_call`

use std::{num::NonZeroU16, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::Instant;
use vulcan_api::{InstanceId, IsolationClass, Readiness, Reuse, Runtime, Status, Usage};
use vulcan_backend::{
    Backend, BackendError, Capabilities, ExitStatus, Exited, Instance, Invocation, LogSink, Outcome, Probe,
    Readying, StartRequest, Swept,
};
use vulcan_bus::{Assignment, Command, Report, WorkloadState};

use crate::harness::{Bench, program};

/// How many calls are measured.
const CALLS: u32 = 20_000;

/// A backend that answers at once.
struct Immediate(Capabilities);

struct Answer;

#[async_trait]
impl Backend for Immediate {
    fn capabilities(&self) -> &Capabilities {
        &self.0
    }

    async fn probe(&self) -> Probe {
        Probe {
            readiness: Readiness::Ready,
            runtimes: Vec::new(),
        }
    }

    async fn start(&self, _: StartRequest) -> Result<Arc<dyn Instance>, BackendError> {
        Ok(Arc::new(Answer))
    }

    async fn adopt(&self, _: &InstanceId) -> Result<Option<Arc<dyn Instance>>, BackendError> {
        Ok(None)
    }

    async fn sweep(&self, _: &[InstanceId]) -> Result<Swept, BackendError> {
        Ok(Swept::default())
    }

    async fn close(&self) {}
}

#[async_trait]
impl Instance for Answer {
    async fn invoke(&self, _: Invocation, _: LogSink) -> Result<Outcome, BackendError> {
        // A real one waits for its guest.
        tokio::task::yield_now().await;
        Ok(Outcome {
            status: ExitStatus::Code(0),
            output: Some(serde_json::json!({"sum": 3})),
            error: None,
            prepared_in: Duration::ZERO,
            reusable: NonZeroU16::new(1),
        })
    }

    async fn wait(&self) -> Exited {
        std::future::pending().await
    }

    async fn stop(&self, _: Duration) -> Result<(), BackendError> {
        Ok(())
    }

    async fn usage(&self) -> Result<Usage, BackendError> {
        Ok(Usage {
            cpu_ms: 1.0,
            mem_peak_mb: Some(1.0),
        })
    }
}

fn call() -> Assignment {
    let mut assignment = program(&"x".repeat(500));
    assignment.program.runtime = Runtime::Node;
    assignment.reuse = Reuse::Warm;
    assignment
}

/// Calls again and again, `at_once` calls at a time; returns the wall-clock and the processor time of each.
async fn measure(bench: &mut Bench, at_once: u32) -> (Duration, Duration) {
    let calls: Vec<Assignment> = (0..CALLS).map(|_| call()).collect();
    let (began, before) = (Instant::now(), processor_time());
    let mut waiting = 0;
    let mut left = calls.into_iter();
    let mut ended = 0;
    while ended < CALLS {
        while waiting < at_once
            && let Some(assignment) = left.next()
        {
            bench.assign(assignment).await;
            waiting += 1;
        }
        let Report::Workload(report) = bench.control.reports.recv().await.unwrap() else {
            continue;
        };
        if let WorkloadState::Ended(end) = report.state {
            assert_eq!(end.status, Status::Completed);
            let (workload, generation) = (report.workload, report.generation);
            bench.command(Command::Acknowledge { workload, generation }).await;
            waiting -= 1;
            ended += 1;
        }
    }
    (began.elapsed() / CALLS, (processor_time() - before) / CALLS)
}

/// What this process used until now: fields 14 and 15 of proc(5)'s stat, in ticks of 10 ms.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn what_a_warm_call_costs_in_the_node() {
    let mut bench = Bench::with(|options| {
        options.pools.enabled = true;
        let readying = vec![Readying {
            runtime: Runtime::Node,
            blank: None,
            warm: true,
            forked: false,
        }];
        options.backends = vec![Arc::new(Immediate(Capabilities {
            isolation: IsolationClass::Sandbox,
            abilities: Vec::new(),
            readying,
            root: vulcan_backend::RootForm::Own,
            outlives_server: false,
        }))];
    })
    .await;
    for at_once in [1, 1, 16] {
        let (wall, processor) = measure(&mut bench, at_once).await;
        println!(
            "{at_once:>2} at once: {wall:?} per warm call, {processor:?} of processor time, the driver of the test included"
        );
    }
}
