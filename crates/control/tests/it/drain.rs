//! Draining, aborting and closing.

use std::time::Duration;

use vulcan_api::{Status, Workload};
use vulcan_bus::StopReason;

use crate::platform::{DEADLINE, code, platform, problem};

#[tokio::test]
async fn a_draining_server_takes_nothing_new_and_finishes_what_it_has() {
    let platform = platform().start().await;
    let id = platform.submit(&code("hold")).await;
    platform.handle.drain();

    for path in ["/v1/workloads", "/v1/workloads/async"] {
        let refused = problem(platform.post(path, &code("ok")).await).await;
        assert_eq!(refused.slug(), "shutting-down");
        assert_eq!(refused.retry_after_s, Some(10));
    }
    assert_eq!(
        problem(platform.get("/readyz").await).await.slug(),
        "shutting-down"
    );
    assert_eq!(platform.get("/healthz").await.status(), 200);
    assert_eq!(platform.handle.unfinished(), 1);
    platform
        .until("it runs", async |platform| {
            platform.record(id).await.status == Status::Running
        })
        .await;
    platform
        .node
        .finish(id, crate::node::ended(Status::Completed, None))
        .await;
    tokio::time::timeout(DEADLINE, platform.handle.idle())
        .await
        .unwrap();
    assert_eq!(platform.record(id).await.status, Status::Completed);
}

#[tokio::test]
async fn an_abort_stops_what_runs_and_leaves_what_can_wait() {
    let platform = platform().instances_max(1).start().await;
    let running = platform.submit(&code("hold")).await;
    platform
        .until("it runs", async |platform| {
            platform.record(running).await.status == Status::Running
        })
        .await;
    let queued = platform.submit(&code("ok")).await;
    let request = platform
        .client
        .post(format!("{}/v1/workloads", platform.url))
        .json(&code("ok"));
    let sync = tokio::spawn(request.send());
    platform
        .until("three are unfinished", async |platform| {
            platform.handle.unfinished() == 3
        })
        .await;

    platform.handle.abort().await;

    tokio::time::timeout(DEADLINE, platform.handle.idle())
        .await
        .unwrap();
    assert_eq!(
        platform.node.lock(|memory| memory.stopped.clone()),
        [(running, StopReason::Shutdown)]
    );
    assert_eq!(platform.record(running).await.status, Status::Failed);
    assert_eq!(platform.record(queued).await.status, Status::Pending);
    let record: Workload = sync.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(record.status, Status::Failed);

    let platform = platform.stop(false).await.start().await;
    assert_eq!(platform.end(queued).await.status, Status::Completed);
}

#[tokio::test]
async fn a_sync_caller_of_a_server_that_ends_gets_an_answer() {
    let platform = platform().start().await;
    let request = platform
        .client
        .post(format!("{}/v1/workloads", platform.url))
        .json(&code("hold"));
    let waiting = tokio::spawn(request.send());
    platform
        .until("it runs", async |platform| {
            platform.node.lock(|memory| memory.has.len() == 1)
        })
        .await;
    assert!(platform.handle.close(Duration::from_secs(5)).await);
    let answer = problem(waiting.await.unwrap().unwrap()).await;
    assert!(
        ["shutting-down", "storage-unavailable"].contains(&answer.slug()),
        "{answer:?}"
    );
}
