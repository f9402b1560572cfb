//! Go: compiled once, in an instance, and kept.

use std::sync::Arc;

use vulcan_api::{ErrorCode, Runtime, Status};
use vulcan_backend::simulator::{Simulator, Step};
use vulcan_bus::Assignment;

use crate::harness::{Bench, program, texts, until};

fn go(text: &str) -> Assignment {
    let mut assignment = program(text);
    assignment.program.runtime = Runtime::Go;
    assignment
}

#[tokio::test]
async fn a_source_is_compiled_once() {
    let mut bench = Bench::new().await;
    for expected in [2, 3, 4] {
        let workload = bench.assign(go("output 7")).await;
        let end = bench.end(workload).await;
        assert_eq!(
            (end.status, end.output),
            (Status::Completed, Some(7.into())),
            "{:?}",
            end.error
        );
        assert_eq!(bench.simulator.started(), expected);
    }
    let metrics = bench.metrics();
    assert!(
        metrics.contains("vulcan_run_seconds_count{isolation=\"sandbox\",runtime=\"go\"} 3"),
        "{metrics}"
    );
}

#[tokio::test]
async fn many_that_wait_share_one_compiler() {
    let mut bench = Bench::new().await;
    let hold = bench.simulator.hold(Step::Invoke);
    let first = bench.assign(go("output 7")).await;
    hold.reached(1).await;
    let second = bench.assign(go("output 7")).await;
    bench.kill(first).await;
    assert_eq!(bench.end(first).await.status, Status::Killed);
    drop(hold);

    assert_eq!(bench.end(second).await.status, Status::Completed);
    assert!(bench.simulator.started() <= 3, "{}", bench.simulator.started());
}

#[tokio::test]
async fn an_executable_outlives_the_node() {
    let mut bench = Bench::new().await;
    let workload = bench.assign(go("output 7")).await;
    bench.end(workload).await;
    let directory = Arc::clone(&bench.directory);
    bench.handle.join().await;

    let mut bench = Bench::at(directory, Simulator::new(), |_| {}).await.unwrap();

    let workload = bench.assign(go("output 7")).await;
    assert_eq!(bench.end(workload).await.status, Status::Completed);
    assert_eq!(bench.simulator.started(), 1);
}

#[tokio::test]
async fn a_compile_error_has_the_compilers_words() {
    let mut bench = Bench::new().await;
    let workload = bench.assign(go("output 1\nfunk main")).await;

    let end = bench.end(workload).await;

    let error = end.error.unwrap();
    assert_eq!(
        (end.status, error.code),
        (Status::Failed, ErrorCode::CompileFailed)
    );
    assert_eq!(error.message, "main.sim:2: no such instruction: funk main");
    assert_eq!(
        texts(&bench.log(workload).await),
        ["main.sim:2: no such instruction: funk main"]
    );
    until("the compiler's instance is gone", || bench.simulator.live() == 0).await;
}

#[tokio::test]
async fn a_compiler_that_takes_too_long_is_a_failure_of_the_source() {
    let mut bench = Bench::with(|options| options.compile.resources.timeout_s = 0.05).await;
    let hold = bench.simulator.hold(Step::Invoke);
    let workload = bench.assign(go("output 1")).await;
    let error = bench.end(workload).await.error.unwrap();
    assert_eq!(error.code, ErrorCode::CompileFailed);
    assert_eq!(error.message, "the compiler took longer than 50ms");
    drop(hold);
    until("the compiler's instance is gone", || bench.simulator.live() == 0).await;
}

#[tokio::test]
async fn an_executable_beyond_the_limit_is_refused() {
    let mut bench = Bench::with(|options| options.compile.executable_bytes_max = 4).await;
    let workload = bench.assign(go("output 1")).await;
    assert_eq!(
        bench.end(workload).await.error.unwrap().code,
        ErrorCode::CompileFailed
    );
}

#[tokio::test]
async fn a_kill_ends_a_compiler_that_nobody_else_waits_for() {
    let mut bench = Bench::new().await;
    let hold = bench.simulator.hold(Step::Invoke);
    let workload = bench.assign(go("output 1")).await;
    hold.reached(1).await;

    bench.kill(workload).await;

    assert_eq!(bench.end(workload).await.status, Status::Killed);
    until("the compiler's instance is gone", || bench.simulator.live() == 0).await;
}

#[tokio::test]
async fn a_compiler_gets_its_own_limits_and_they_count() {
    let mut bench = Bench::with(|options| options.capacity.mem_mb = 128).await;
    let hold = bench.simulator.hold(Step::Invoke);
    let workload = bench.assign(go("output 1")).await;
    hold.reached(1).await;
    let used = f64::from((128 + 1024) << 20);
    let line = format!("vulcan_capacity_memory_used_bytes {used:?}");
    until("the compiler's memory is counted", || {
        bench.metrics().contains(&line)
    })
    .await;
    drop(hold);
    assert_eq!(bench.end(workload).await.status, Status::Completed);
}
