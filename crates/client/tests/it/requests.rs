//! What each operation sends, and what it reads.

use std::time::Duration;

use vulcan_api::{Status, WorkloadId, WorkloadSpec};
use vulcan_client::{ListQuery, RunOptions};

use crate::server::{Answer, Scripted, json};

const ID: &str = "wl_01JKQX7V8MZRN3B4HTGFWDCS9E";

fn id() -> WorkloadId {
    ID.parse().unwrap()
}

fn spec() -> WorkloadSpec {
    serde_json::from_str(r#"{"runtime": "python", "code": "1"}"#).unwrap()
}

fn record(status: &str) -> String {
    format!(
        r#"{{"id": "{ID}", "project": "default", "status": "{status}", "isolation": "auto", "isolation_used": null,
        "isolation_reason": null, "runtime": "python", "node": null, "input_digest": "", "output": null,
        "exit_code": null, "error": null, "resources": {{"cpus": 1.0, "mem_mb": 128, "disk_mb": 64, "pids": 128,
        "timeout_s": 30.0}}, "network": "none", "usage": null, "start": null, "queued_ms": null, "start_ms": null,
        "run_ms": null, "duration_ms": null, "created_at": "2026-11-22T10:00:00.000Z", "started_at": null,
        "finished_at": null}}"#
    )
}

fn accepted() -> Answer {
    json(
        "202 Accepted",
        &format!(r#"{{"id": "{ID}", "status": "pending"}}"#),
    )
}

#[tokio::test]
async fn a_run_posts_the_spec_and_returns_the_record() {
    let server = Scripted::start(vec![json("200 OK", &record("completed"))]).await;

    let workload = server.client.run(&spec(), &RunOptions::default()).await.unwrap();

    assert_eq!((workload.id, workload.status), (id(), Status::Completed));
    let request = server.requests().remove(0);
    assert!(request.starts_with("post /v1/workloads http/1.1"), "{request}");
    assert!(request.contains(r#""runtime":"python","isolation":"auto","code":"1""#));
}

#[tokio::test]
async fn a_unix_socket_serves_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let server = Scripted::start_unix(&folder.path().join("s"), accepted());

    let answer = server
        .client
        .run_async(&spec(), &RunOptions::default())
        .await
        .unwrap();

    assert_eq!(answer.id, id());
}

#[tokio::test]
async fn a_submission_with_a_key_is_tried_again_when_the_connection_breaks() {
    let server = Scripted::start(vec![Answer::Hangup, accepted()]).await;
    let options = RunOptions {
        idempotency_key: Some("k1".to_owned()),
        ..RunOptions::default()
    };

    let answer = server.client.run_async(&spec(), &options).await.unwrap();

    assert_eq!(answer.id, id());
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert!(
        requests
            .iter()
            .all(|request| request.contains("idempotency-key: k1"))
    );
}

#[tokio::test]
async fn a_submission_without_a_key_is_never_repeated() {
    let server = Scripted::start(vec![Answer::Hangup, accepted()]).await;

    let answer = server.client.run_async(&spec(), &RunOptions::default()).await;

    assert!(answer.is_err());
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn waiting_polls_until_the_workload_is_over() {
    let server = Scripted::start(vec![
        json("200 OK", &record("running")),
        json("200 OK", &record("timed_out")),
    ])
    .await;

    let workload = server.client.wait(id(), Duration::from_secs(20)).await.unwrap();

    assert_eq!(workload.status, Status::TimedOut);
    assert!(server.requests().iter().all(|request| request.contains("?wait=")));
}

#[tokio::test]
async fn waiting_ends_at_its_limit_with_the_record_as_it_is() {
    let server = Scripted::start(vec![json("200 OK", &record("running"))]).await;

    let workload = server.client.wait(id(), Duration::ZERO).await.unwrap();

    assert_eq!(workload.status, Status::Running);
}

#[tokio::test]
async fn a_list_sends_its_filters() {
    let server = Scripted::start(vec![json("200 OK", r#"{"workloads": [], "next_cursor": null}"#)]).await;
    let query = ListQuery {
        status: Some(Status::TimedOut),
        limit: Some(5),
        cursor: Some("a&b".to_owned()),
        ..ListQuery::default()
    };

    server.client.list(&query).await.unwrap();

    let request = server.requests().remove(0);
    assert!(
        request.starts_with("get /v1/workloads?status=timed_out&limit=5&cursor=a%26b "),
        "{request}"
    );
}

#[tokio::test]
async fn a_kill_is_a_delete() {
    let server = Scripted::start(vec![json("200 OK", &record("killed"))]).await;

    let workload = server.client.kill(id()).await.unwrap();

    assert_eq!(workload.status, Status::Killed);
    assert!(server.requests()[0].starts_with(&format!("delete /v1/workloads/{}", ID.to_lowercase())));
}
