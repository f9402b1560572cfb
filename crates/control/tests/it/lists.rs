//! Lists, their filters and pages, and bad parameters.

use serde_json::{Value, json};
use vulcan_api::{Status, WorkloadList};

use crate::platform::{Platform, code, platform, problem};

async fn list(platform: &Platform, query: &str) -> WorkloadList {
    let response = platform.get(&format!("/v1/workloads?{query}")).await;
    assert_eq!(response.status(), 200, "{query}");
    response.json().await.unwrap()
}

#[tokio::test]
async fn pages_follow_each_other_newest_first_without_gap_or_repeat() {
    let platform = platform().start().await;
    for _ in 0..23 {
        platform.run(&code("ok")).await;
    }
    let mut seen = Vec::new();
    let mut query = "limit=5".to_owned();
    loop {
        let page = list(&platform, &query).await;
        assert!(page.workloads.len() <= 5);
        seen.extend(page.workloads.into_iter().map(|record| record.id));
        match page.next_cursor {
            Some(cursor) => query = format!("limit=5&cursor={cursor}"),
            None => break,
        }
        // What comes in meanwhile is newer than every page that follows.
        platform.run(&code("ok")).await;
    }
    let mut sorted = seen.clone();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    sorted.dedup();
    assert_eq!(seen, sorted);
    assert_eq!(seen.len(), 23);
}

#[tokio::test]
async fn filters_hold_and_the_unfinished_are_seen() {
    let platform = platform().instances_max(1).start().await;
    let done = platform.run(&code("ok")).await.id;
    let js = platform
        .run(&json!({"runtime": "node", "code": "ok", "isolation": "sandbox"}))
        .await
        .id;
    let running = platform.submit(&code("hold")).await;
    let pending = platform.submit(&code("hold")).await;
    platform
        .until("one runs", async |platform| {
            platform.record(running).await.status == Status::Running
        })
        .await;

    let cases = [
        ("", vec![pending, running, js, done]),
        ("status=pending", vec![pending]),
        ("status=running", vec![running]),
        ("status=completed", vec![js, done]),
        ("status=failed", vec![]),
        ("runtime=node", vec![js]),
        ("isolation=sandbox", vec![pending, running, js, done]),
        ("isolation=auto", vec![pending, running, done]),
        ("isolation=microvm", vec![]),
        ("status=running&runtime=node", vec![]),
        ("status=running&isolation=auto", vec![running]),
        ("status=completed&runtime=python&isolation=sandbox", vec![done]),
    ];
    for (query, wanted) in cases {
        let page = list(&platform, query).await;
        let ids: Vec<_> = page.workloads.iter().map(|record| record.id).collect();
        assert_eq!(ids, wanted, "{query}");
    }
    let all = list(&platform, "").await;
    assert_eq!(all.workloads[1].status, Status::Running);
    let stats: Value = platform.get("/v1/stats").await.json().await.unwrap();
    assert_eq!(stats["workloads"]["pending"], 1);
    assert_eq!(stats["workloads"]["running"], 1);
    assert_eq!(stats["workloads"]["completed"], 2);
    assert_eq!(stats["nodes_ready"], 1);
    assert_eq!(stats["start_ms_p50"], 2.0);
}

type Case = (String, &'static str, &'static str);

fn bad_lists() -> Vec<Case> {
    vec![
        ("/v1/workloads?limit=0".to_owned(), "invalid-parameter", "limit"),
        ("/v1/workloads?limit=201".to_owned(), "invalid-parameter", "limit"),
        ("/v1/workloads?limit=x".to_owned(), "invalid-parameter", "limit"),
        (
            "/v1/workloads?limit=1&limit=2".to_owned(),
            "invalid-parameter",
            "limit",
        ),
        (
            "/v1/workloads?stauts=failed".to_owned(),
            "invalid-parameter",
            "stauts",
        ),
        (
            "/v1/workloads?status=done".to_owned(),
            "invalid-parameter",
            "status",
        ),
        (
            "/v1/workloads?isolation=vm".to_owned(),
            "invalid-parameter",
            "isolation",
        ),
        (
            "/v1/workloads?runtime=ruby".to_owned(),
            "invalid-parameter",
            "runtime",
        ),
        (
            "/v1/workloads?cursor=nonsense".to_owned(),
            "invalid-cursor",
            "cursor",
        ),
        ("/v1/workloads?cursor=".to_owned(), "invalid-cursor", "cursor"),
    ]
}

fn bad_waits(id: vulcan_api::WorkloadId) -> Vec<Case> {
    vec![
        (
            format!("/v1/workloads/{id}?wait=61s"),
            "invalid-parameter",
            "wait",
        ),
        (
            format!("/v1/workloads/{id}?wait=soon"),
            "invalid-parameter",
            "wait",
        ),
        (
            format!("/v1/workloads/{id}/logs?follow=maybe"),
            "invalid-parameter",
            "follow",
        ),
        (
            format!("/v1/workloads/{id}/logs?after=-1"),
            "invalid-parameter",
            "after",
        ),
    ]
}

fn bad_paths() -> Vec<Case> {
    vec![
        ("/v1/stats?x=1".to_owned(), "invalid-parameter", "x"),
        (
            "/v1/workloads/in_01JKQX7V8MZRN3B4HTGFWDCS9E".to_owned(),
            "invalid-id",
            "id",
        ),
        ("/v1/workloads/%FF".to_owned(), "invalid-id", ""),
        ("/v1/nodes/a%20b".to_owned(), "invalid-id", "id"),
        (
            "/v1/workloads/wl_01JKQX7V8MZRN3B4HTGFWDCS9E".to_owned(),
            "workload-not-found",
            "",
        ),
        (
            "/v1/workloads/wl_01JKQX7V8MZRN3B4HTGFWDCS9E/logs".to_owned(),
            "workload-not-found",
            "",
        ),
        ("/v1/nodes/toad".to_owned(), "not-found", ""),
        ("/nothing".to_owned(), "not-found", ""),
        ("/problems/nothing".to_owned(), "not-found", ""),
    ]
}

#[tokio::test]
async fn bad_parameters_are_refused_by_name() {
    let platform = platform().start().await;
    let id = platform.run(&code("ok")).await.id;
    let cases = bad_lists().into_iter().chain(bad_waits(id)).chain(bad_paths());
    for (path, slug, field) in cases {
        let problem = problem(platform.get(&path).await).await;
        assert_eq!(problem.slug(), slug, "{path}");
        assert_eq!(
            problem.errors.first().map_or("", |error| error.field.as_str()),
            field,
            "{path}"
        );
    }
}
