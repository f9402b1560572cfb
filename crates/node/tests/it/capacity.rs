//! What is taken, what is refused, and what is ignored.

use std::time::Duration;

use vulcan_api::{Readiness, Status};
use vulcan_backend::simulator::Step;
use vulcan_bus::WorkloadState;

use crate::harness::{Bench, program, until};

async fn rejection(bench: &mut Bench) -> String {
    match bench.report().await.state {
        WorkloadState::Rejected { reason } => reason,
        state @ (WorkloadState::Running { .. } | WorkloadState::Ended(_)) => panic!("{state:?}"),
    }
}

#[tokio::test]
async fn what_does_not_fit_is_rejected_with_what_is_short() {
    let mut bench = Bench::with(|options| {
        options.capacity.mem_mb = 200;
        options.intervals.running_after = Duration::from_secs(3600);
    })
    .await;
    let first = bench.assign(program("hang")).await;

    bench.assign(program("exit 0")).await;

    assert_eq!(
        rejection(&mut bench).await,
        "128 MiB of memory were asked for, and 72 of the node's 200 MiB are free"
    );
    bench.kill(first).await;
    bench.end(first).await;
    until("the room is free", || {
        bench.metrics().contains("vulcan_capacity_instances_used 0")
    })
    .await;
    assert_eq!(bench.run("exit 0").await.status, Status::Completed);
}

#[tokio::test]
async fn there_are_no_more_instances_than_allowed() {
    let mut bench = Bench::with(|options| {
        options.capacity.instances_max = 1;
        options.intervals.running_after = Duration::from_secs(3600);
    })
    .await;
    let first = bench.assign(program("hang")).await;
    bench.assign(program("exit 0")).await;
    assert_eq!(
        rejection(&mut bench).await,
        "all 1 instances of the node are in use"
    );
    bench.kill(first).await;
}

#[tokio::test]
async fn an_assignment_that_is_known_is_ignored() {
    let mut bench = Bench::with(|options| options.intervals.running_after = Duration::from_secs(3600)).await;
    let hold = bench.simulator.hold(Step::Start);
    let mut assignment = program("exit 0");
    assignment.generation = 2;
    let workload = bench.assign(assignment.clone()).await;
    hold.reached(1).await;
    bench.assign(assignment.clone()).await;
    assignment.generation = 1;
    bench.assign(assignment).await;
    drop(hold);

    assert_eq!(bench.end(workload).await.status, Status::Completed);
    bench.run("exit 0").await;
    assert_eq!(bench.simulator.started(), 2);
}

#[tokio::test]
async fn a_known_end_is_repeated_and_not_run_again() {
    let mut bench = Bench::with(|options| options.intervals.resend_min = Duration::from_secs(3600)).await;
    bench.acknowledges = false;
    let assignment = program("exit 0");
    bench.assign(assignment.clone()).await;
    let first = bench.report().await;
    bench.assign(assignment).await;
    assert_eq!(bench.report().await, first);
    assert_eq!(bench.simulator.started(), 1);
}

#[tokio::test]
async fn a_newer_generation_runs_again_and_goes_on_with_the_log() {
    let mut bench = Bench::new().await;
    bench.acknowledges = false;
    let mut assignment = program("stdout one");
    let workload = bench.assign(assignment.clone()).await;
    bench.end(workload).await;

    assignment.generation = 2;
    bench.assign(assignment).await;

    loop {
        let report = bench.report().await;
        if report.generation == 2 && matches!(report.state, WorkloadState::Ended(_)) {
            break;
        }
    }
    let lines = bench.log(workload).await;
    assert_eq!(crate::harness::texts(&lines), ["one", "one"]);
}

#[tokio::test]
async fn a_newer_generation_ends_the_older_one_first() {
    let mut bench = Bench::with(|options| options.intervals.running_after = Duration::from_secs(3600)).await;
    let mut assignment = program("hang");
    let workload = bench.assign(assignment.clone()).await;
    assignment.generation = 2;
    bench.assign(assignment).await;
    assert_eq!(
        rejection(&mut bench).await,
        "its former assignment is being ended"
    );
    assert_eq!(bench.end(workload).await.status, Status::Failed);
}

#[tokio::test]
async fn the_status_lists_what_is_not_acknowledged() {
    let mut bench = Bench::with(|options| options.intervals.status = Duration::from_millis(20)).await;
    bench.acknowledges = false;
    let running = bench.assign(program("hang")).await;
    let ended = bench.assign(program("exit 0")).await;
    let mut both = vec![(running, 1), (ended, 1)];
    both.sort_unstable();
    bench.end(ended).await;

    let status = bench.status(|status| status.workloads == both).await;

    assert_eq!(status.node.name.as_str(), "newt");
    assert_eq!(status.node.capacity.mem_mb, 100_000);
    bench.acknowledge(ended, 1).await;
    bench
        .status(|status| status.workloads == [(running, 1)] && status.node.capacity.mem_used_mb == 128)
        .await;
    bench.kill(running).await;
}

#[tokio::test]
async fn an_end_is_reported_until_it_is_acknowledged() {
    let mut bench = Bench::with(|options| options.intervals.status = Duration::from_millis(20)).await;
    bench.acknowledges = false;
    let workload = bench.assign(program("output 1")).await;
    let first = bench.report().await;
    assert_eq!(bench.report().await, first);
    assert_eq!(bench.report().await, first);
    bench.acknowledge(workload, 1).await;
    bench.status(|status| status.workloads.is_empty()).await;
}

#[tokio::test]
async fn a_change_of_a_backend_is_reported_at_once() {
    let mut bench = Bench::with(|options| {
        options.intervals.status = Duration::from_secs(3600);
        options.intervals.probe = Duration::from_millis(10);
    })
    .await;
    bench
        .status(|status| status.node.ready && status.backends.len() == 1)
        .await;
    let degraded = Readiness::Degraded {
        reasons: vec!["no cgroups".to_owned()],
    };
    bench.simulator.set_readiness(degraded.clone());
    let status = bench
        .status(|status| status.backends[0].readiness == degraded)
        .await;
    assert_eq!(status.backends[0].abilities, ["exec", "files"]);
}
