//! What survives the death of the process.

use std::{path::Path, sync::Arc, time::Duration};

use sqlx::{Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use vulcan_api::Status;
use vulcan_backend::simulator::Simulator;
use vulcan_node::Error;

use crate::harness::{Bench, PATIENCE, program};

async fn count(directory: &Path, table: &'static str) -> i64 {
    let options = SqliteConnectOptions::new().filename(directory.join("data/node.db"));
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let text = match table {
        "instances" => "SELECT COUNT(*) FROM instances",
        _ => "SELECT COUNT(*) FROM outbox",
    };
    sqlx::query(text).fetch_one(&mut connection).await.unwrap().get(0)
}

async fn until_count(directory: &Path, table: &'static str, wanted: i64) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while count(directory, table).await != wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "{table} never had {wanted} rows");
}

/// Starts a workload that never ends, waits until its instance is noted, and lets the process "die".
fn die_in_the_middle(directory: &Arc<TempDir>, simulator: &Simulator) {
    simulator.leave_behind(true);
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let bench = Bench::at(Arc::clone(directory), simulator.clone(), |_| {})
            .await
            .unwrap();
        bench.assign(program("hang")).await;
        until_count(directory.path(), "instances", 1).await;
    });
    runtime.shutdown_timeout(PATIENCE);
    simulator.leave_behind(false);
    assert_eq!(simulator.live(), 1);
}

#[test]
fn an_instance_that_lives_is_adopted_and_ended() {
    let (directory, simulator) = (
        Arc::new(tempfile::tempdir().unwrap()),
        Simulator::new().outliving(),
    );
    die_in_the_middle(&directory, &simulator);

    Runtime::new().unwrap().block_on(async {
        let mut bench = Bench::at(Arc::clone(&directory), simulator.clone(), |_| {})
            .await
            .unwrap();

        let recovery = bench.handle.recovery();
        assert_eq!(
            (recovery.noted, recovery.adopted.len(), recovery.swept.instances),
            (1, 1, 0)
        );
        assert_eq!(
            recovery.lines(),
            ["1 instances were live: 1 adopted and ended, 0 already gone"]
        );
        assert_eq!(simulator.live(), 0);
        assert_eq!(count(directory.path(), "instances").await, 0);
        assert_eq!(bench.run("exit 0").await.status, Status::Completed);
    });
}

#[test]
fn an_instance_that_nobody_noted_is_swept() {
    let (directory, simulator) = (
        Arc::new(tempfile::tempdir().unwrap()),
        Simulator::new().outliving(),
    );
    die_in_the_middle(&directory, &simulator);
    std::fs::remove_file(directory.path().join("data/node.db")).unwrap();
    for leftover in ["node.db-wal", "node.db-shm"] {
        let _ = std::fs::remove_file(directory.path().join("data").join(leftover));
    }

    Runtime::new().unwrap().block_on(async {
        let bench = Bench::at(directory, simulator.clone(), |_| {}).await.unwrap();
        assert_eq!(bench.handle.recovery().swept.instances, 1);
        assert!(bench.handle.recovery().lines()[0].starts_with("1 instances swept: simulated instance in_"));
        assert_eq!(simulator.live(), 0);
    });
}

#[tokio::test]
async fn a_data_directory_has_one_owner() {
    let bench = Bench::new().await;
    let error = Bench::at(Arc::clone(&bench.directory), Simulator::new(), |_| {})
        .await
        .err()
        .unwrap();
    assert!(
        matches!(&error, Error::Owned { pid, .. } if *pid == std::process::id().to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn a_database_that_is_none_is_an_error() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    std::fs::create_dir(directory.path().join("data")).unwrap();
    std::fs::write(directory.path().join("data/node.db"), [b'x'; 4096]).unwrap();
    let error = Bench::at(directory, Simulator::new(), |_| {})
        .await
        .err()
        .unwrap();
    assert!(matches!(error, Error::Database { .. }), "{error}");
}

#[tokio::test]
async fn a_data_directory_that_is_a_file_is_an_error() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    std::fs::write(directory.path().join("data"), "in the way").unwrap();
    let error = Bench::at(directory, Simulator::new(), |_| {})
        .await
        .err()
        .unwrap();
    assert!(matches!(error, Error::Directory { .. }), "{error}");
}

#[tokio::test]
async fn an_unacknowledged_end_survives_a_restart() {
    let mut bench = Bench::new().await;
    bench.acknowledges = false;
    let workload = bench.assign(program("stdout hello\noutput {\"n\":1}")).await;
    let end = bench.end(workload).await;
    let directory = Arc::clone(&bench.directory);
    bench.handle.join().await;

    let mut bench = Bench::at(Arc::clone(&directory), Simulator::new(), |_| {})
        .await
        .unwrap();

    assert_eq!(bench.handle.recovery().unacknowledged, 1);
    bench.status(|status| status.workloads == [(workload, 1)]).await;
    let mut again = bench.end(workload).await;
    // The last bit of a float may change on its way through JSON.
    assert!((again.start_ms - end.start_ms).abs() < 1e-9);
    again.start_ms = end.start_ms;
    again.run_ms = end.run_ms;
    assert_eq!(again, end);
    assert_eq!(crate::harness::texts(&bench.log(workload).await), ["hello"]);
    until_count(directory.path(), "outbox", 0).await;
    bench.handle.join().await;
    let bench = Bench::at(directory, Simulator::new(), |_| {}).await.unwrap();
    assert_eq!(bench.handle.recovery().lines(), Vec::<String>::new());
}

#[tokio::test]
async fn an_end_is_stored_when_nobody_acknowledges_it() {
    let mut bench = Bench::with(|options| options.intervals.spill_after = Duration::from_millis(1)).await;
    bench.acknowledges = false;
    let workload = bench.assign(program("output 1")).await;
    let first = bench.report().await;
    until_count(bench.directory.path(), "outbox", 1).await;

    assert_eq!(bench.report().await, first);

    bench.acknowledge(workload, 1).await;
    until_count(bench.directory.path(), "outbox", 0).await;
}

#[tokio::test]
async fn an_acknowledgement_of_an_older_generation_says_nothing() {
    let mut bench = Bench::new().await;
    bench.acknowledges = false;
    let mut assignment = program("exit 0");
    assignment.generation = 3;
    let workload = bench.assign(assignment).await;
    let first = bench.report().await;
    bench.acknowledge(workload, 2).await;
    assert_eq!(bench.report().await, first);
}
