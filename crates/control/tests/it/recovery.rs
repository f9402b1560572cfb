//! What a restart finds.

use serde_json::json;
use vulcan_api::{ErrorCode, Status};
use vulcan_control::Recovery;

use crate::platform::{code, platform};

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let platform = platform().start().await;
    let done = platform.run(&code("ok")).await;
    let platform = platform.stop(true).await.start().await;
    assert_eq!(platform.record(done.id).await, done);
    assert_eq!(platform.handle.recovery().await, Recovery::default());
}

#[tokio::test]
async fn unfinished_workloads_end_or_run_again_or_go_on() {
    let platform = platform().instances_max(2).start().await;
    let running = platform.submit(&code("hold")).await;
    let idempotent = platform
        .submit(&json!({"runtime": "python", "code": "hold", "idempotent": true}))
        .await;
    let queued = platform
        .submit(&json!({"runtime": "python", "code": "hold", "env": {"A": "b"}, "input": [1]}))
        .await;
    platform
        .until("two run", async |platform| {
            platform.node.lock(|memory| memory.has.len() == 2)
        })
        .await;

    let platform = platform.stop(false).await.start().await;

    let recovery = platform.handle.recovery().await;
    assert_eq!(
        recovery,
        Recovery {
            requeued: 2,
            ended: 1,
            kept: 0
        }
    );
    let ended = platform.end(running).await;
    assert_eq!(
        (ended.status, ended.error.unwrap().code),
        (Status::Failed, ErrorCode::NodeRestarted)
    );
    platform
        .until("two run again", async |platform| {
            platform.node.lock(|memory| memory.has.len() == 2)
        })
        .await;
    let generation = |id| {
        platform
            .node
            .lock(|memory| memory.has.get(&id).map(|(a, _)| a.generation))
    };
    assert_eq!(generation(idempotent), Some(2));
    assert_eq!(generation(queued), Some(1));
    let program = platform.node.lock(|memory| memory.has[&queued].0.program.clone());
    assert_eq!(
        (program.env["A"].as_str(), program.input.as_ref()),
        ("b", b"[1]".as_slice())
    );
}

#[tokio::test]
async fn what_still_lives_on_its_node_goes_on() {
    let platform = platform().start().await;
    let id = platform.submit(&code("hold")).await;
    platform
        .until("it runs", async |platform| {
            platform.record(id).await.status == Status::Running
        })
        .await;

    let platform = platform.stop(true).await.start().await;

    assert_eq!(
        platform.handle.recovery().await,
        Recovery {
            requeued: 0,
            ended: 0,
            kept: 1
        }
    );
    platform
        .node
        .finish(id, crate::node::ended(Status::Completed, None))
        .await;
    assert_eq!(platform.end(id).await.status, Status::Completed);
}

#[tokio::test]
async fn an_unfinished_sync_workload_ends_as_restarted() {
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
    let id = platform.node.lock(|memory| memory.assigned[0].workload);

    let platform = platform.stop(false).await.start().await;

    let ended = platform.end(id).await;
    assert_eq!(
        (ended.status, ended.error.unwrap().code),
        (Status::Failed, ErrorCode::NodeRestarted)
    );
    waiting.abort();
}

#[tokio::test]
async fn a_workload_that_found_no_room_is_placed_again_after_a_restart() {
    let platform = platform().instances_max(1).start().await;
    let first = platform.submit(&code("hold")).await;
    platform
        .until("one runs", async |platform| {
            platform.node.lock(|memory| memory.has.len() == 1)
        })
        .await;
    let second = platform.submit(&code("reject-once")).await;
    platform.kill(first).await;
    platform
        .until("it was rejected", async |platform| {
            platform
                .node
                .lock(|memory| memory.assigned.iter().any(|a| a.workload == second))
        })
        .await;

    let platform = platform.stop(false).await.start().await;

    assert_eq!(platform.end(second).await.status, Status::Completed);
}
