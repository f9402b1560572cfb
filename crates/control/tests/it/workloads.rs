//! The life of workloads as a caller sees it.

use std::time::Duration;

use serde_json::{Value, json};
use vulcan_api::{ErrorCode, Status, Workload};

use crate::platform::{code, platform};

#[tokio::test]
async fn a_sync_workload_is_answered_with_its_record() {
    let platform = platform().start().await;

    let body = json!({
        "runtime": "python", "code": "ok", "input": {"b": 1, "a": [2]}, "labels": {"team": "x"},
        "resources": {"mem_mb": 64}, "env": {"K": "v"}, "args": ["--fast"],
    });
    let mut record: Value = platform.post("/v1/workloads", &body).await.json().await.unwrap();

    assert!(record["queued_ms"].as_f64().unwrap() >= 0.0);
    assert!(record["duration_ms"].as_f64().unwrap() >= record["queued_ms"].as_f64().unwrap());
    for changing in ["id", "created_at", "queued_ms", "duration_ms"] {
        record[changing] = json!("[redacted]");
    }
    insta::assert_json_snapshot!(record, @r#"
        {
          "created_at": "[redacted]",
          "duration_ms": "[redacted]",
          "error": null,
          "exit_code": 0,
          "finished_at": "2025-11-13T02:13:20.003Z",
          "id": "[redacted]",
          "input_digest": "63c9663de90ee828bbda6cd9acf02d0c653986c1ec25aa239920641edc9a1de5",
          "isolation": "auto",
          "isolation_reason": "auto: Python source; microvm and gvisor are not offered on this node, sandbox is the strongest that is",
          "isolation_used": "sandbox",
          "labels": {
            "team": "x"
          },
          "logs_truncated": false,
          "network": "none",
          "node": "newt",
          "output": {
            "a": [
              2
            ],
            "b": 1
          },
          "project": "default",
          "queued_ms": "[redacted]",
          "resources": {
            "cpus": 1.0,
            "disk_mb": 64,
            "mem_mb": 64,
            "pids": 128,
            "timeout_s": 30.0
          },
          "run_ms": 0.5,
          "runtime": "python",
          "start": "cold",
          "start_ms": 2.0,
          "started_at": "2025-11-13T02:13:20.000Z",
          "status": "completed",
          "usage": {
            "cpu_ms": 3.0,
            "mem_peak_mb": 31.0
          }
        }
        "#);
    let assigned = platform.node.lock(|memory| memory.assigned[0].clone());
    assert_eq!(assigned.program.args, ["--fast"]);
    assert_eq!(assigned.program.env["K"], "v");
    assert_eq!(assigned.program.code.entrypoint(), "main.py");
    platform
        .until("it is acknowledged", async |platform| {
            platform.node.lock(|memory| memory.acknowledged.len() == 1)
        })
        .await;
}

#[tokio::test]
async fn an_async_workload_is_found_by_its_id_until_its_end() {
    let platform = platform().start().await;

    let response = platform.post("/v1/workloads/async", &code("hold")).await;
    assert_eq!(response.status(), 202);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let accepted: Value = response.json().await.unwrap();
    assert_eq!(
        location,
        format!("/v1/workloads/{}", accepted["id"].as_str().unwrap())
    );
    assert_eq!(accepted["status"], "pending");
    let id = accepted["id"].as_str().unwrap().parse().unwrap();
    platform
        .until("it runs", async |platform| {
            platform.record(id).await.status == Status::Running
        })
        .await;

    let error = vulcan_api::WorkloadError::new(ErrorCode::ExitCode, "exit code 1");
    platform
        .node
        .finish(id, crate::node::ended(Status::Failed, Some(error.clone())))
        .await;

    let record = platform.end(id).await;
    assert_eq!(
        (record.status, record.error, record.exit_code),
        (Status::Failed, Some(error), Some(1))
    );
}

#[tokio::test]
async fn a_long_poll_ends_with_the_workload_or_with_its_time() {
    let platform = platform().start().await;
    let id = platform.submit(&code("hold")).await;

    let early: Workload = platform
        .get(&format!("/v1/workloads/{id}?wait=50ms"))
        .await
        .json()
        .await
        .unwrap();
    assert!(!early.status.is_final());

    let path = format!("/v1/workloads/{id}?wait=20s");
    let (late, ()) = tokio::join!(platform.get(&path), async {
        platform
            .until("it runs", async |platform| {
                platform.record(id).await.status == Status::Running
            })
            .await;
        platform
            .node
            .finish(id, crate::node::ended(Status::Completed, None))
            .await;
    });
    assert_eq!(late.json::<Workload>().await.unwrap().status, Status::Completed);
}

#[tokio::test]
async fn a_kill_ends_a_workload_and_a_second_one_changes_nothing() {
    let platform = platform().start().await;
    let id = platform.submit(&code("hold")).await;

    let killed = platform.kill(id).await;
    let again = platform.kill(id).await;

    assert_eq!(killed.status, Status::Killed);
    assert_eq!(killed.error.as_ref().unwrap().code, ErrorCode::Killed);
    assert_eq!(killed, again);
    assert_eq!(platform.node.lock(|memory| memory.stopped.len()), 1);
}

#[tokio::test]
async fn a_queued_workload_is_killed_without_its_node() {
    let platform = platform().instances_max(1).start().await;
    let running = platform.submit(&code("hold")).await;
    let queued = platform.submit(&code("hold")).await;
    assert_eq!(platform.record(queued).await.status, Status::Pending);

    let killed = platform.kill(queued).await;

    assert_eq!(killed.status, Status::Killed);
    assert_eq!(killed.started_at, None);
    assert_eq!(platform.node.lock(|memory| memory.assigned.len()), 1);
    platform.kill(running).await;
}

#[tokio::test]
async fn a_rejected_workload_runs_a_little_later() {
    let platform = platform().start().await;
    let sync = platform.run(&code("reject-once")).await;
    let id = platform.submit(&code("reject-once")).await;
    assert_eq!(sync.status, Status::Completed);
    assert_eq!(platform.end(id).await.status, Status::Completed);
    let generations: Vec<u32> = platform
        .node
        .lock(|memory| memory.assigned.iter().map(|a| a.generation).collect());
    assert_eq!(generations, [1, 2, 1, 2]);
}

#[tokio::test]
async fn a_queue_of_many_runs_in_order_on_a_small_node() {
    let platform = platform().instances_max(2).start().await;
    let mut ids = Vec::new();
    for _ in 0..30 {
        ids.push(platform.submit(&code("ok")).await);
    }
    for id in &ids {
        assert_eq!(platform.end(*id).await.status, Status::Completed);
    }
    let order: Vec<_> = platform
        .node
        .lock(|memory| memory.assigned.iter().map(|a| a.workload).collect());
    assert_eq!(order, ids);
}

#[tokio::test]
async fn a_workload_that_its_node_lost_ends_and_an_idempotent_one_runs_again() {
    let platform = platform().start().await;
    let lost = platform.submit(&code("drop")).await;
    let mut body = code("drop");
    body["idempotent"] = json!(true);
    let again = platform.submit(&body).await;

    let record = platform.end(lost).await;
    assert_eq!(record.status, Status::Failed);
    assert_eq!(record.error.unwrap().code, ErrorCode::NodeRestarted);
    platform
        .until("it is assigned again", async |platform| {
            platform.node.lock(|memory| {
                memory
                    .assigned
                    .iter()
                    .any(|a| a.workload == again && a.generation == 2)
            })
        })
        .await;
}

#[tokio::test]
async fn an_end_without_a_word_before_and_one_without_a_status_are_ends_all_the_same() {
    let platform = platform().start().await;
    let quiet = platform.run(&code("no-run")).await;
    assert_eq!(quiet.status, Status::Completed);
    assert!(quiet.queued_ms.is_some());
    let odd = platform.run(&code("unfinal")).await;
    assert_eq!(odd.status, Status::Failed);
    assert_eq!(odd.error.unwrap().code, ErrorCode::InstanceLost);
}

#[tokio::test]
async fn a_workload_goes_on_when_its_caller_goes_away() {
    let platform = platform().start().await;
    let request = platform
        .client
        .post(format!("{}/v1/workloads", platform.url))
        .json(&code("hold"));
    let cut_off = request.timeout(Duration::from_millis(300)).send().await;
    assert!(cut_off.is_err());

    let id = platform.node.lock(|memory| memory.assigned[0].workload);
    assert_eq!(platform.record(id).await.status, Status::Running);
    platform
        .node
        .finish(id, crate::node::ended(Status::Completed, None))
        .await;
    assert_eq!(platform.end(id).await.status, Status::Completed);
}

#[tokio::test]
async fn javascript_is_a_name_for_node() {
    let platform = platform().start().await;
    let record = platform
        .run(&json!({ "runtime": "javascript", "code": "ok", "entrypoint": "./lib/app.mjs" }))
        .await;
    assert_eq!(record.runtime, vulcan_api::Runtime::Node);
    assert_eq!(
        platform
            .node
            .lock(|memory| memory.assigned[0].program.code.entrypoint().to_owned()),
        "lib/app.mjs"
    );
}
