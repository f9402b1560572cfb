//! Workloads that meet instances which are ready: where their instance came from, and what becomes of it.

use std::{collections::BTreeMap, time::Duration};

use vulcan_api::{ErrorCode, Reuse, Runtime, StartKind, Status, WorkloadId};
use vulcan_backend::{BackendError, simulator::Step};
use vulcan_bus::{Assignment, WorkloadEnd};
use vulcan_node::Options;

use crate::harness::{Bench, program, until};

/// The handler gives back how often it was called.
const COUNTER: &str = "handler\ncount";

fn pooled(options: &mut Options) {
    options.pools.enabled = true;
    options.intervals.status = Duration::from_millis(20);
}

/// Pools that keep what was loaded, and start nothing ahead.
fn warm_only(options: &mut Options) {
    pooled(options);
    options.pools.blank_per_kind = 0;
    options.pools.blank_max = 0;
}

fn python(text: &str, reuse: Reuse) -> Assignment {
    let mut assignment = program(text);
    assignment.program.runtime = Runtime::Python;
    assignment.reuse = reuse;
    assignment
}

/// Waits until every kind has its blank instances.
async fn full(bench: &mut Bench) {
    bench
        .status(|status| {
            let pools = &status.backends[0].pools;
            !pools.is_empty() && pools.iter().all(|pool| pool.blank == pool.blank_wanted)
        })
        .await;
}

async fn run(bench: &mut Bench, assignment: Assignment) -> WorkloadEnd {
    let workload = bench.assign(assignment).await;
    bench.end(workload).await
}

#[tokio::test]
async fn a_one_shot_workload_takes_a_blank_instance_and_burns_it() {
    let mut bench = Bench::with(pooled).await;
    full(&mut bench).await;
    let mut starts = Vec::new();
    for _ in 0..10 {
        full(&mut bench).await;
        let end = run(&mut bench, python(COUNTER, Reuse::None)).await;
        starts.push((end.status, end.start.unwrap(), end.output.unwrap()));
    }
    let pooled = (Status::Completed, StartKind::Pooled, serde_json::json!(1));
    assert!(starts.iter().all(|start| *start == pooled), "{starts:?}");
    full(&mut bench).await;
    until("every burned one is gone", || bench.simulator.live() == 4).await;
    let metrics = bench.metrics();
    assert!(
        metrics
            .contains("vulcan_pool_hits_total{isolation=\"sandbox\",runtime=\"python\",start=\"pooled\"} 10")
    );
    bench.handle.drain().await;
    assert_eq!(bench.simulator.live(), 0);
}

#[tokio::test]
async fn who_asks_for_a_cold_start_or_another_runtime_gets_one() {
    let mut bench = Bench::with(pooled).await;
    full(&mut bench).await;
    let end = run(&mut bench, python("exit 0", Reuse::Cold)).await;
    assert_eq!(end.start, Some(StartKind::Cold));
    let end = run(&mut bench, program("exit 0")).await;
    assert_eq!(end.start, Some(StartKind::Cold));
    let metrics = bench.metrics();
    let counted = metrics.lines().filter(|line| {
        line.starts_with("vulcan_pool_hits_total{") || line.starts_with("vulcan_pool_misses_total{")
    });
    let counted: Vec<&str> = counted.collect();
    assert!(
        !counted.is_empty() && counted.iter().all(|line| line.ends_with(" 0")),
        "{counted:?}"
    );
}

#[tokio::test]
async fn the_first_call_loads_and_later_ones_are_warm() {
    let mut bench = Bench::with(warm_only).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let end = run(&mut bench, python(COUNTER, Reuse::Warm)).await;
        seen.push((end.start.unwrap(), end.output.unwrap().as_u64().unwrap()));
        assert!(
            end.usage.is_some_and(|usage| usage.mem_peak_mb.is_some()),
            "{:?}",
            end.usage
        );
    }
    assert_eq!(
        seen,
        [(StartKind::Cold, 1), (StartKind::Warm, 2), (StartKind::Warm, 3)]
    );
    assert_eq!((bench.simulator.started(), bench.simulator.live()), (1, 1));
    bench
        .status(|status| status.backends[0].pools.iter().map(|pool| pool.warm).sum::<u32>() == 1)
        .await;
    // Idle instances are no part of the capacity.
    until("nothing is used", || {
        bench.metrics().contains("vulcan_capacity_instances_used 0")
    })
    .await;
    let metrics = bench.metrics();
    for line in [
        "vulcan_pool_hits_total{isolation=\"sandbox\",runtime=\"python\",start=\"warm\"} 2",
        "vulcan_pool_misses_total{isolation=\"sandbox\",runtime=\"python\",start=\"warm\"} 1",
        "vulcan_pool_instances{isolation=\"sandbox\",runtime=\"python\",state=\"warm\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    bench.handle.drain().await;
    assert_eq!(bench.simulator.live(), 0);
}

#[tokio::test]
async fn the_first_call_loads_into_a_blank_instance_where_there_is_one() {
    let mut bench = Bench::with(pooled).await;
    full(&mut bench).await;
    let first = run(&mut bench, python(COUNTER, Reuse::Warm)).await;
    assert_eq!(first.start, Some(StartKind::Pooled));
    let second = run(&mut bench, python(COUNTER, Reuse::Warm)).await;
    assert_eq!(second.start, Some(StartKind::Warm));
}

#[tokio::test]
async fn a_forked_call_sees_nothing_of_the_one_before() {
    let mut bench = Bench::with(warm_only).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let end = run(&mut bench, python(COUNTER, Reuse::Forked)).await;
        seen.push((end.start.unwrap(), end.output.unwrap().as_u64().unwrap()));
    }
    assert_eq!(
        seen,
        [
            (StartKind::Cold, 1),
            (StartKind::Forked, 1),
            (StartKind::Forked, 1)
        ]
    );
}

#[tokio::test]
async fn a_runtime_that_cannot_fork_gets_a_fresh_instance_and_not_a_warm_one() {
    let mut bench = Bench::with(warm_only).await;
    for _ in 0..2 {
        let mut assignment = python(COUNTER, Reuse::Forked);
        assignment.program.runtime = Runtime::Node;
        let end = run(&mut bench, assignment).await;
        assert_eq!(
            (end.start, end.output),
            (Some(StartKind::Cold), Some(serde_json::json!(1)))
        );
    }
}

#[tokio::test]
async fn a_script_is_run_once_however_it_is_asked_for() {
    let mut bench = Bench::with(warm_only).await;
    for _ in 0..2 {
        let end = run(&mut bench, python("output 7", Reuse::Warm)).await;
        assert_eq!(
            (end.status, end.start, end.output),
            (
                Status::Completed,
                Some(StartKind::Cold),
                Some(serde_json::json!(7))
            )
        );
    }
    until("nothing is kept", || bench.simulator.live() == 0).await;
}

#[tokio::test]
async fn a_call_that_throws_leaves_the_handler_loaded() {
    let mut bench = Bench::with(warm_only).await;
    let text = "handler\nthrow no such thing";
    let first = run(&mut bench, python(text, Reuse::Warm)).await;
    let second = run(&mut bench, python(text, Reuse::Warm)).await;
    assert_eq!((first.status, second.status), (Status::Failed, Status::Failed));
    assert_eq!(second.start, Some(StartKind::Warm));
}

#[tokio::test]
async fn whatever_differs_gets_an_instance_of_its_own() {
    let mut bench = Bench::with(warm_only).await;
    let base = || python(COUNTER, Reuse::Warm);
    let mut others = vec![base()];
    others.push(python("handler\ncount\n# changed", Reuse::Warm));
    let mut other = base();
    other.owner = "another".to_owned();
    others.push(other);
    let mut other = base();
    other.program.env = BTreeMap::from([("K".to_owned(), "v".to_owned())]);
    others.push(other);
    let mut other = base();
    other.program.args = vec!["x".to_owned()];
    others.push(other);
    let mut other = base();
    other.resources.mem_mb += 1;
    others.push(other);
    let count = others.len();

    for assignment in others {
        let end = run(&mut bench, assignment).await;
        assert_eq!(
            (end.start, end.output),
            (Some(StartKind::Cold), Some(serde_json::json!(1)))
        );
    }

    assert_eq!(bench.simulator.live(), count);
    let mut patient = base();
    patient.resources.timeout_s += 1.0;
    patient.output_bytes_max += 1;
    patient.program.input = bytes::Bytes::from_static(b"[1]");
    assert_eq!(run(&mut bench, patient).await.start, Some(StartKind::Warm));
}

#[tokio::test]
async fn owners_that_call_at_once_never_meet() {
    let mut bench = Bench::with(|options| {
        warm_only(options);
        options.capacity.instances_max = 1000;
    })
    .await;
    let mut calls: BTreeMap<WorkloadId, &str> = BTreeMap::new();
    for round in 0..200 {
        let owner = ["one", "two", "three", "four"][round % 4];
        let text = format!("handler 2\nstdout {owner}\noutput \"{owner}\"");
        let mut assignment = python(&text, Reuse::Warm);
        assignment.owner = owner.to_owned();
        calls.insert(bench.assign(assignment).await, owner);
    }
    for (workload, owner) in calls {
        let end = bench.end(workload).await;
        assert_eq!(end.output, Some(serde_json::json!(owner)), "{end:?}");
        let lines = bench.log(workload).await;
        assert_eq!(crate::harness::texts(&lines).concat(), owner);
    }
}

#[tokio::test]
async fn the_same_code_of_two_owners_never_shares_what_it_keeps() {
    let mut bench = Bench::with(warm_only).await;
    for round in 1..=5_u64 {
        for owner in ["one", "two", "o", "ne"] {
            let mut assignment = python(COUNTER, Reuse::Warm);
            assignment.owner = owner.to_owned();
            let end = run(&mut bench, assignment).await;
            assert_eq!(end.output, Some(serde_json::json!(round)), "{owner}");
        }
    }
    assert_eq!(bench.simulator.started(), 4);
}

#[tokio::test]
async fn a_thousand_warm_calls_at_once_lose_nothing() {
    let mut bench = Bench::with(|options| {
        warm_only(options);
        options.capacity.instances_max = 2000;
        options.capacity.mem_mb = 1_000_000;
    })
    .await;
    let mut calls = Vec::new();
    for _ in 0..1000 {
        calls.push(bench.assign(python("handler\necho-input", Reuse::Warm)).await);
    }
    let mut starts: BTreeMap<&str, u32> = BTreeMap::new();
    for workload in calls {
        let end = bench.end(workload).await;
        assert_eq!((end.status, &end.error), (Status::Completed, &None));
        *starts.entry(end.start.unwrap().as_str()).or_default() += 1;
    }
    assert!(starts["warm"] > 500, "{starts:?}");
    until("all that runs is kept or gone", || {
        bench.metrics().contains("vulcan_capacity_instances_used 0") && bench.simulator.live() <= 32
    })
    .await;
    bench.handle.drain().await;
    assert_eq!(bench.simulator.live(), 0);
}

#[tokio::test]
async fn a_timeout_stops_its_instance_and_tells_the_other_calls_in_it_why() {
    let mut bench = Bench::with(warm_only).await;
    let slow = python("handler 2\nsleep 300\noutput 1", Reuse::Warm);
    let loaded = run(&mut bench, slow.clone()).await;
    assert_eq!(loaded.status, Status::Completed);
    let mut short = again(&slow);
    short.resources.timeout_s = 0.1;
    let (short, other) = (bench.assign(short).await, bench.assign(again(&slow)).await);
    assert_eq!(bench.end(short).await.status, Status::TimedOut);
    let other = bench.end(other).await;
    assert_eq!(
        (other.status, other.start),
        (Status::Failed, Some(StartKind::Warm))
    );
    let error = other.error.unwrap();
    assert_eq!(error.code, ErrorCode::InstanceLost);
    assert_eq!(
        error.message,
        "the instance was stopped in the middle of this call: another call in it reached its wall-clock limit; it can be called again"
    );
    until("it is gone", || bench.simulator.live() == 0).await;
    let next = run(&mut bench, again(&slow)).await;
    assert_eq!(
        (next.status, next.start),
        (Status::Completed, Some(StartKind::Cold))
    );
}

fn again(assignment: &Assignment) -> Assignment {
    Assignment {
        workload: crate::harness::new_id(),
        ..assignment.clone()
    }
}

#[tokio::test]
async fn a_kill_stops_a_warm_instance() {
    let mut bench = Bench::with(warm_only).await;
    let text = python("handler\nsleep 200", Reuse::Warm);
    run(&mut bench, text.clone()).await;
    let hold = bench.simulator.hold(Step::Invoke);
    let call = bench.assign(again(&text)).await;
    hold.reached(1).await;
    bench.kill(call).await;
    assert_eq!(bench.end(call).await.status, Status::Killed);
    drop(hold);
    until("it is gone", || bench.simulator.live() == 0).await;
}

#[tokio::test]
async fn an_instance_that_dies_between_two_calls_is_not_called_again() {
    let mut bench = Bench::with(warm_only).await;
    for _ in 0..3 {
        let end = run(&mut bench, python(COUNTER, Reuse::Warm)).await;
        assert_eq!(
            (end.start, end.output),
            (Some(StartKind::Cold), Some(serde_json::json!(1)))
        );
        bench.simulator.crash_all();
    }
    let end = run(&mut bench, python("handler\ndie-afterwards", Reuse::Warm)).await;
    assert_eq!(end.status, Status::Completed);
    until("everything is gone", || bench.simulator.live() == 0).await;
}

#[tokio::test]
async fn a_warm_call_whose_instance_breaks_fails_alone() {
    let mut bench = Bench::with(warm_only).await;
    run(&mut bench, python(COUNTER, Reuse::Warm)).await;
    bench
        .simulator
        .fail_next(Step::Invoke, || BackendError::Protocol {
            reason: "nonsense".to_owned(),
        });
    let end = run(&mut bench, python(COUNTER, Reuse::Warm)).await;
    assert_eq!(end.error.unwrap().code, ErrorCode::InstanceLost);
    let end = run(&mut bench, python(COUNTER, Reuse::Warm)).await;
    assert_eq!(
        (end.status, end.start),
        (Status::Completed, Some(StartKind::Cold))
    );
}

#[tokio::test]
async fn a_pool_that_cannot_be_filled_is_told_of_and_workloads_go_on() {
    let failing = || BackendError::StartFailed {
        step: "clone3".to_owned(),
        source: None,
    };
    let simulator = vulcan_backend::simulator::Simulator::new();
    simulator.fail_next(Step::Start, failing);
    let directory = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let mut bench = Bench::at(directory, simulator, pooled).await.unwrap();
    let is_failing = |pool: &vulcan_api::PoolInfo| {
        let text = pool.failing.as_deref().unwrap_or_default();
        text.starts_with("the instance could not be started: clone3; failed 1 times in a row, tried next at")
    };
    bench
        .status(|status| status.backends[0].pools.iter().any(is_failing))
        .await;
    assert_eq!(
        run(&mut bench, python("exit 0", Reuse::None)).await.status,
        Status::Completed
    );
}

#[tokio::test]
async fn pools_that_are_turned_off_keep_nothing() {
    let mut bench = Bench::with(|_| {}).await;
    for reuse in Reuse::ALL {
        let end = run(&mut bench, python(COUNTER, reuse)).await;
        assert_eq!(
            (end.start, end.output),
            (Some(StartKind::Cold), Some(serde_json::json!(1)))
        );
    }
    until("nothing is kept", || bench.simulator.live() == 0).await;
}

#[tokio::test]
async fn an_abort_stops_what_is_idle_and_what_is_called() {
    let mut bench = Bench::with(pooled).await;
    full(&mut bench).await;
    run(&mut bench, python(COUNTER, Reuse::Warm)).await;
    let hold = bench.simulator.hold(Step::Invoke);
    let call = bench.assign(python(COUNTER, Reuse::Warm)).await;
    hold.reached(1).await;
    bench.handle.abort().await;
    drop(hold);
    assert_eq!(bench.simulator.live(), 0);
    assert_eq!(
        bench.end(call).await.error.unwrap().code,
        ErrorCode::NodeRestarted
    );
}
