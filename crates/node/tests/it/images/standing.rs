//! Workloads and instances that stand on an image.

use std::{sync::Arc, time::Duration};

use tempfile::TempDir;
use vulcan_api::{ErrorCode, Runtime, StartKind, Status};
use vulcan_backend::simulator::Simulator;
use vulcan_bus::{Assignment, NodeStatus, Report, WorkloadState};
use vulcan_node::Options;

use super::{
    made::{Made, tar},
    server::{Fault, Server},
    stage::Stage,
};
use crate::harness::program;

async fn server() -> Server {
    Server::with(&Made::new(&[tar(&[("hello", b"hello")])])).await
}

/// A node whose only class stands on images.
async fn stage(change: impl FnOnce(&mut Options)) -> Stage {
    let directory = Arc::new(TempDir::new().unwrap());
    Stage::over(directory, Simulator::new().on_layers(), change).await
}

fn on(image: &str, text: &str) -> Assignment {
    let mut assignment = program(text);
    assignment.program.image = Some(image.parse().unwrap());
    assignment
}

fn default_of(options: &mut Options, runtime: Runtime, image: &str) {
    let name = image.parse().unwrap();
    options.images.defaults.insert(runtime.as_str().to_owned(), name);
}

#[tokio::test]
async fn an_image_that_a_workload_names_is_pulled_and_used_until_its_end() {
    let (mut stage, server) = (stage(|_| {}).await, server().await);

    let workload = stage.bench.assign(on(&server.name(), "sleep 600000")).await;
    let report = stage.bench.report().await;

    assert!(
        matches!(report.state, WorkloadState::Running { .. }),
        "{report:?}"
    );
    let simulator = stage.bench.simulator.clone();
    crate::harness::until("it has an instance", || simulator.live() == 1).await;
    assert_eq!(stage.inspect(&server.name()).await.unwrap().in_use, 1);
    let refused = stage.remove(&server.name()).await.unwrap_err();
    assert_eq!(refused.slug(), "image-in-use");
    stage.bench.kill(workload).await;
    assert_eq!(stage.bench.end(workload).await.status, Status::Killed);
    stage.remove(&server.name()).await.unwrap();
}

#[tokio::test]
async fn a_workload_waits_for_its_image_until_it_is_killed_or_the_limit_is_over() {
    let server = server().await;
    server.faults(&[Fault::Stall(1); 4]);
    let patient = |options: &mut Options| options.images.stall_s = 600;
    let mut killed = stage(patient).await;
    let workload = killed.bench.assign(on(&server.name(), "handler\ncount")).await;
    let report = killed.bench.report().await;
    assert!(
        matches!(report.state, WorkloadState::Running { .. }),
        "{report:?}"
    );
    killed.bench.kill(workload).await;
    assert_eq!(killed.bench.end(workload).await.status, Status::Killed);

    let mut limited = stage(|options| {
        patient(options);
        options.intervals.image = Duration::from_millis(200);
    })
    .await;
    let workload = limited.bench.assign(on(&server.name(), "handler\ncount")).await;
    let error = limited.bench.end(workload).await.error.unwrap();
    assert_eq!(error.code, ErrorCode::ImageUnavailable);
    assert!(
        error.message.contains("was not here after 200ms"),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn a_default_image_that_is_missing_is_said_with_how_to_make_it() {
    let mut stage = stage(|_| {}).await;

    let end = stage.bench.run("handler\ncount").await;

    let error = end.error.unwrap();
    assert_eq!(
        (end.status, error.code),
        (Status::Failed, ErrorCode::ImageUnavailable)
    );
    assert!(
        error.message.contains("vulcan image bootstrap"),
        "{}",
        error.message
    );
    assert_eq!(stage.bench.simulator.started(), 0);
}

#[tokio::test]
async fn what_can_be_run_is_told_before_an_image_is_done() {
    let server = server().await;
    let mut stage = stage(|options| default_of(options, Runtime::Bash, &server.name())).await;
    let bash = |status: &NodeStatus| {
        let mut runtimes = status.backends[0].runtimes.iter();
        let info = runtimes.find(|info| info.runtime == Runtime::Bash).unwrap();
        (info.available, info.packages.clone())
    };
    let before = stage.bench.status(|_| true).await;
    assert_eq!(bash(&before), (false, vec![format!("image:{}", server.name())]));

    stage.pull(&server.name()).await.unwrap();

    let mut last = before;
    while let Ok(report) = stage.bench.control.reports.try_recv() {
        if let Report::Status(status) = report {
            last = *status;
        }
    }
    assert_eq!(bash(&last), (true, Vec::new()));
    assert_eq!(stage.bench.run("handler\ncount").await.status, Status::Completed);
}

#[tokio::test]
async fn blank_instances_stand_on_the_default_image_and_leave_when_it_is_removed() {
    let server = server().await;
    let mut stage = stage(|options| {
        default_of(options, Runtime::Python, &server.name());
        options.pools.enabled = true;
        options.intervals.status = Duration::from_millis(20);
    })
    .await;
    stage.pull(&server.name()).await.unwrap();
    let is_full = |status: &NodeStatus| {
        let pools = &status.backends[0].pools;
        !pools.is_empty() && pools.iter().all(|pool| pool.blank == pool.blank_wanted)
    };
    stage.bench.status(is_full).await;
    let mut python = program("handler\ncount");
    python.program.runtime = Runtime::Python;
    let workload = stage.bench.assign(python).await;
    assert_eq!(stage.bench.end(workload).await.start, Some(StartKind::Pooled));

    stage.remove(&server.name()).await.unwrap();

    let is_empty = |status: &NodeStatus| status.backends[0].pools.iter().all(|pool| pool.blank_wanted == 0);
    stage.bench.status(is_empty).await;
    assert_eq!(stage.bench.simulator.live(), 0);
}
