//! Every way in which a workload can end.

use std::{io, time::Duration};

use vulcan_api::{ErrorCode, IsolationClass, Readiness, Resources, StartKind, Status};
use vulcan_backend::{BackendError, simulator::Step};
use vulcan_bus::{Command, StopReason, WorkloadState};

use crate::harness::{Bench, program, until};

fn exhausted() -> BackendError {
    BackendError::Exhausted {
        what: "processes",
        source: Some(io::Error::other("try again")),
    }
}

#[tokio::test]
async fn a_program_that_ends_well_is_completed() {
    let mut bench = Bench::new().await;

    let end = bench.run("output {\"sum\":3}").await;

    assert_eq!(end.status, Status::Completed);
    assert_eq!(end.output, Some(serde_json::json!({"sum": 3})));
    assert_eq!(
        (end.exit_code, &end.error, end.start),
        (Some(0), &None, Some(StartKind::Cold))
    );
    assert!(end.start_ms > 0.0 && end.run_ms >= 0.0, "{end:?}");
    assert!(
        end.usage.is_some_and(|usage| usage.mem_peak_mb.is_some()),
        "{end:?}"
    );
    assert!(!end.logs_truncated);
    assert!(end.finished_at >= end.started_at);
}

#[tokio::test]
async fn a_short_workload_sends_a_single_report() {
    let mut bench = Bench::with(|options| options.intervals.running_after = Duration::from_secs(3600)).await;
    let workload = bench.assign(program("exit 0")).await;
    let report = bench.report().await;
    assert_eq!(report.workload, workload);
    assert!(matches!(report.state, WorkloadState::Ended(_)));
}

#[tokio::test]
async fn a_long_workload_is_reported_as_running_first() {
    let mut bench = Bench::new().await;
    let workload = bench.assign(program("hang")).await;
    let report = bench.report().await;
    assert!(matches!(report.state, WorkloadState::Running { .. }));
    bench.kill(workload).await;
    assert_eq!(bench.end(workload).await.status, Status::Killed);
}

#[tokio::test]
async fn a_programs_failures_keep_their_reasons() {
    let mut bench = Bench::new().await;
    for (text, code, exit_code) in [
        ("exit 3", ErrorCode::ExitCode, Some(3)),
        ("signal 11", ErrorCode::Signal, Some(139)),
        ("throw no such thing", ErrorCode::Exception, Some(1)),
        ("allocate 100000", ErrorCode::OutOfMemory, Some(137)),
        ("output {bad", ErrorCode::OutputInvalid, Some(1)),
        ("crash", ErrorCode::InstanceLost, None),
        ("protocol-error", ErrorCode::InstanceLost, None),
        ("fork 100000", ErrorCode::ExitCode, Some(1)),
    ] {
        let end = bench.run(text).await;
        let error = end.error.unwrap();
        assert_eq!(
            (end.status, error.code, end.exit_code),
            (Status::Failed, code, exit_code),
            "{text}"
        );
        assert!(end.usage.is_some(), "{text}");
    }
    until("every instance is gone", || bench.simulator.live() == 0).await;
}

#[tokio::test]
async fn an_output_beyond_its_cap_fails_the_workload() {
    let mut bench = Bench::new().await;
    let mut assignment = program("output \"too long\"");
    assignment.output_bytes_max = 4;
    let workload = bench.assign(assignment).await;
    let end = bench.end(workload).await;
    assert_eq!(
        (end.status, end.error.unwrap().code),
        (Status::Failed, ErrorCode::OutputTooLarge)
    );
}

#[tokio::test]
async fn the_wall_clock_limit_ends_everything_and_is_named() {
    let mut bench = Bench::new().await;
    let mut assignment = program("stdout before\nspin");
    assignment.resources.timeout_s = 0.05;
    let workload = bench.assign(assignment).await;

    let end = bench.end(workload).await;

    assert_eq!(end.status, Status::TimedOut);
    let error = end.error.unwrap();
    assert_eq!(error.code, ErrorCode::Timeout);
    assert_eq!(
        error.message,
        "the wall-clock limit of 0.05 s was reached (resources.timeout_s)"
    );
    assert!(end.run_ms >= 50.0, "{}", end.run_ms);
    assert_eq!(bench.simulator.live(), 0);
    assert_eq!(bench.log(workload).await[0].text, "before");
}

#[tokio::test]
async fn the_wall_clock_limit_does_not_count_the_start() {
    let mut bench = Bench::new().await;
    let hold = bench.simulator.hold(Step::Start);
    let mut assignment = program("exit 0");
    assignment.resources.timeout_s = 0.02;
    let workload = bench.assign(assignment).await;
    hold.reached(1).await;
    tokio::time::sleep(Duration::from_millis(40)).await;
    drop(hold);
    let end = bench.end(workload).await;
    assert_eq!(end.status, Status::Completed);
    assert!(end.start_ms >= 40.0, "{}", end.start_ms);
}

#[tokio::test]
async fn a_kill_works_at_every_step() {
    let mut bench = Bench::new().await;
    for step in [Step::Start, Step::Invoke] {
        let hold = bench.simulator.hold(step);
        let workload = bench.assign(program("exit 0")).await;
        hold.reached(1).await;
        bench.kill(workload).await;
        let end = bench.end(workload).await;
        assert_eq!(
            (end.status, end.error.unwrap().code),
            (Status::Killed, ErrorCode::Killed),
            "{step:?}"
        );
    }
    let workload = bench.assign(program("stdout here\nspin")).await;
    let mut lines = bench.read(workload, 0, true).await;
    lines.recv().await.unwrap().unwrap();
    bench.kill(workload).await;
    assert_eq!(bench.end(workload).await.status, Status::Killed);
    assert_eq!(bench.simulator.live(), 0);
}

#[tokio::test]
async fn a_kill_after_the_end_changes_nothing_and_repeats_the_report() {
    let mut bench = Bench::with(|options| options.intervals.resend_min = Duration::from_secs(3600)).await;
    bench.acknowledges = false;
    let workload = bench.assign(program("exit 0")).await;
    let first = bench.report().await;
    bench.kill(workload).await;
    assert_eq!(bench.report().await, first);
}

#[tokio::test]
async fn a_kill_of_something_unknown_is_ignored() {
    let mut bench = Bench::new().await;
    bench.kill(crate::harness::new_id()).await;
    assert_eq!(bench.run("exit 0").await.status, Status::Completed);
}

#[tokio::test]
async fn a_shutdown_is_a_failure_by_restart() {
    let mut bench = Bench::new().await;
    let workload = bench.assign(program("hang")).await;
    bench
        .command(Command::Stop {
            workload,
            reason: StopReason::Shutdown,
        })
        .await;
    let end = bench.end(workload).await;
    assert_eq!(
        (end.status, end.error.unwrap().code),
        (Status::Failed, ErrorCode::NodeRestarted)
    );
}

#[tokio::test]
async fn a_start_that_may_pass_is_tried_again() {
    let mut bench = Bench::new().await;
    for _ in 0..3 {
        bench.simulator.fail_next(Step::Start, exhausted);
    }
    assert_eq!(bench.run("exit 0").await.status, Status::Completed);
    assert_eq!(bench.simulator.started(), 1);
}

#[tokio::test]
async fn a_start_is_not_tried_for_ever() {
    let mut bench = Bench::new().await;
    for _ in 0..4 {
        bench.simulator.fail_next(Step::Start, exhausted);
    }
    let end = bench.run("exit 0").await;
    let error = end.error.unwrap();
    assert_eq!(
        (end.status, error.code, end.start),
        (Status::Failed, ErrorCode::StartFailed, None)
    );
    assert_eq!(error.message, "the host has no more processes: try again");
    assert_eq!(bench.run("exit 0").await.status, Status::Completed);
}

#[tokio::test]
async fn an_unfit_host_is_not_asked_twice_but_looked_at_again() {
    let mut bench = Bench::new().await;
    let unfit = || BackendError::Unfit {
        isolation: IsolationClass::Sandbox,
        reason: "no user namespaces".to_owned(),
    };
    bench.simulator.fail_next(Step::Start, unfit);
    bench.simulator.set_readiness(Readiness::Unfit {
        reasons: vec!["no user namespaces".to_owned()],
    });

    let end = bench.run("exit 0").await;

    assert_eq!(end.error.unwrap().code, ErrorCode::StartFailed);
    assert_eq!(bench.simulator.started(), 0);
    let status = bench
        .status(|status| !status.backends[0].readiness.is_usable())
        .await;
    assert!(!status.node.ready);
}

#[tokio::test]
async fn a_supervisor_that_panics_gives_everything_back() {
    let mut bench = Bench::with(|options| {
        options.capacity.instances_max = 1;
        options.intervals.status = Duration::from_millis(20);
    })
    .await;
    bench
        .simulator
        .fail_next(Step::Start, || panic!("a bug of a backend"));

    bench.assign(program("exit 0")).await;

    until("the room is free", || {
        bench.metrics().contains("vulcan_capacity_instances_used 0")
    })
    .await;
    bench.status(|status| status.workloads.is_empty()).await;
    assert_eq!(bench.run("exit 0").await.status, Status::Completed);
}

#[tokio::test]
async fn a_class_without_a_backend_is_a_failure_in_words() {
    let mut bench = Bench::new().await;
    let mut assignment = program("exit 0");
    assignment.isolation = IsolationClass::Microvm;
    let workload = bench.assign(assignment).await;
    let error = bench.end(workload).await.error.unwrap();
    assert_eq!(error.message, "node newt has no backend for microvm");
}

#[tokio::test]
async fn the_answer_does_not_wait_for_the_cleaning_up() {
    let mut bench = Bench::with(|options| options.capacity.mem_mb = 128).await;
    let hold = bench.simulator.hold(Step::Stop);

    assert_eq!(bench.run("exit 0").await.status, Status::Completed);

    assert_eq!(bench.simulator.live(), 1);
    let next = bench.assign(program("exit 0")).await;
    let report = bench.report().await;
    assert_eq!(report.workload, next);
    assert!(
        matches!(report.state, WorkloadState::Rejected { .. }),
        "{report:?}"
    );
    drop(hold);
    until("the instance is gone", || bench.simulator.live() == 0).await;
}

#[tokio::test]
async fn what_ended_is_counted() {
    let mut bench = Bench::new().await;
    bench.run("exit 0").await;
    bench.run("exit 1").await;
    until("no instance is counted", || {
        bench.metrics().contains("vulcan_capacity_instances_used 0")
    })
    .await;
    let metrics = bench.metrics();
    for line in [
        "vulcan_start_seconds_count{isolation=\"sandbox\",runtime=\"bash\",start=\"cold\"} 2",
        "vulcan_run_seconds_count{isolation=\"sandbox\",runtime=\"bash\"} 2",
        "vulcan_pool_instances{isolation=\"sandbox\",runtime=\"bash\",state=\"running\"} 0",
        "vulcan_instance_memory_bytes_count{isolation=\"sandbox\",runtime=\"bash\"} 2",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn a_thousand_mixed_workloads_leave_nothing() {
    let mut bench = Bench::new().await;
    let programs = [
        "exit 0",
        "exit 1",
        "crash",
        "allocate 100000",
        "stdout hello",
        "spin",
        "hang",
        "throw no",
    ];
    for round in 0..10 {
        let mut workloads = Vec::new();
        for n in 0..100 {
            let text = programs[(round + n) % programs.len()];
            let mut assignment = program(text);
            assignment.resources = Resources {
                timeout_s: 0.02,
                ..Resources::default()
            };
            let workload = bench.assign(assignment).await;
            if text == "hang" {
                bench.kill(workload).await;
            }
            workloads.push(workload);
        }
        for workload in workloads {
            assert!(bench.end(workload).await.status.is_final());
        }
    }
    bench.handle.drain().await;
    assert_eq!(bench.simulator.live(), 0);
    let metrics = bench.metrics();
    assert!(
        metrics.contains("vulcan_capacity_memory_used_bytes 0.0"),
        "{metrics}"
    );
}

/// Not a check but a measurement: `cargo test --release -p vulcan-node -- --ignored --nocapture throughput`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints how long the node's own share takes"]
async fn throughput() {
    let mut bench = Bench::new().await;
    for text in ["exit 0", "stdout hello", "flood stdout 1000000"] {
        let began = tokio::time::Instant::now();
        for _ in 0..1000 {
            bench.run(text).await;
        }
        println!("{text}: {:?} each, one after the other", began.elapsed() / 1000);
    }
}
