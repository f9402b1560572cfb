//! Logs: live, resumed, in both forms, and readers that do not read.

use std::time::Duration;

use futures::StreamExt;
use reqwest::Response;
use vulcan_api::{LogLine, Status, WorkloadId};

use crate::{
    node::ended,
    platform::{DEADLINE, Platform, code, platform, problem},
};

async fn log(platform: &Platform, id: WorkloadId, query: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = platform
        .client
        .get(format!("{}/v1/workloads/{id}/logs{query}", platform.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

/// Reads a stream until its text so far satisfies a condition.
async fn read_until(response: &mut Response, is_enough: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    let reading = async {
        while !is_enough(&text) {
            match response.chunk().await.unwrap() {
                Some(chunk) => text.push_str(std::str::from_utf8(&chunk).unwrap()),
                None => return,
            }
        }
    };
    assert!(tokio::time::timeout(DEADLINE, reading).await.is_ok(), "{text}");
    assert!(is_enough(&text), "{text}");
    text
}

async fn held(platform: &Platform) -> WorkloadId {
    let id = platform.submit(&code("hold")).await;
    platform
        .until("it runs", async |platform| {
            platform.record(id).await.status == Status::Running
        })
        .await;
    id
}

#[tokio::test]
async fn events_come_from_the_start_then_live_and_end_with_the_workload() {
    let platform = platform().start().await;
    let id = held(&platform).await;
    platform.node.log_line(id, "one");

    let mut response = log(&platform, id, "", &[]).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut text = read_until(&mut response, |text| text.contains("one")).await;
    platform.node.log_line(id, "two");
    text += &read_until(&mut response, |text| text.contains("two")).await;
    platform.node.finish(id, ended(Status::Completed, None)).await;
    text += &read_until(&mut response, |text| text.contains("event: end")).await;

    assert_eq!(response.chunk().await.unwrap(), None);
    insta::assert_snapshot!(text, @r#"
        : log

        id: 10
        event: log
        data: {"id":10,"time":"2025-11-13T02:13:20.000Z","stream":"stdout","text":"one"}

        id: 20
        event: log
        data: {"id":20,"time":"2025-11-13T02:13:20.000Z","stream":"stdout","text":"two"}

        event: end
        data: {"status":"completed"}
        "#);
}

#[tokio::test]
async fn a_reader_goes_on_after_the_last_event_that_it_saw() {
    let platform = platform().start().await;
    let id = held(&platform).await;
    for text in ["one", "two", "three"] {
        platform.node.log_line(id, text);
    }
    platform.node.finish(id, ended(Status::Completed, None)).await;
    platform.end(id).await;

    let text = log(&platform, id, "", &[("Last-Event-ID", "20")])
        .await
        .text()
        .await
        .unwrap();
    let query = log(&platform, id, "?after=20", &[]).await.text().await.unwrap();

    assert!(
        !text.contains("two") && text.contains("three") && text.contains("event: end"),
        "{text}"
    );
    assert_eq!(text, query);
    let bad = problem(log(&platform, id, "", &[("Last-Event-ID", "x")]).await).await;
    assert_eq!(bad.slug(), "invalid-parameter");
}

#[tokio::test]
async fn lines_of_json_are_given_to_whoever_accepts_them() {
    let platform = platform().start().await;
    let id = held(&platform).await;
    platform.node.log_line(id, "one");
    platform.node.log_line(id, "two\u{1b}[31m\nthree");

    let response = log(
        &platform,
        id,
        "?follow=false",
        &[("Accept", "application/x-ndjson")],
    )
    .await;
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let text = response.text().await.unwrap();
    let lines: Vec<LogLine> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();

    assert_eq!(
        lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(),
        ["one", "two\u{1b}[31m\nthree"]
    );
    assert_eq!(platform.record(id).await.status, Status::Running);
}

#[tokio::test]
async fn the_media_type_is_chosen_by_what_is_accepted() {
    let platform = platform().start().await;
    let id = platform.run(&code("ok")).await.id;
    for (accept, wanted) in [
        ("*/*", "text/event-stream"),
        ("text/*;q=0.5", "text/event-stream"),
        ("text/html, application/x-ndjson;q=0.9", "application/x-ndjson"),
        ("application/*", "application/x-ndjson"),
    ] {
        assert_eq!(
            log(&platform, id, "", &[("Accept", accept)]).await.headers()["content-type"],
            wanted,
            "{accept}"
        );
    }
    let refused = problem(log(&platform, id, "", &[("Accept", "text/html")]).await).await;
    assert_eq!(refused.slug(), "not-acceptable");
}

#[tokio::test]
async fn a_log_of_a_workload_in_the_queue_waits_for_its_start() {
    let platform = platform().instances_max(1).start().await;
    let first = held(&platform).await;
    let second = platform.submit(&code("hold")).await;
    let mut response = log(&platform, second, "", &[]).await;
    platform.node.finish(first, ended(Status::Completed, None)).await;
    platform
        .until("it runs", async |platform| {
            platform.record(second).await.status == Status::Running
        })
        .await;
    platform.node.log_line(second, "late");
    platform.node.finish(second, ended(Status::Failed, None)).await;
    let text = read_until(&mut response, |text| text.contains("event: end")).await;
    assert!(
        text.contains("late") && text.contains(r#"{"status":"failed"}"#),
        "{text}"
    );
}

#[tokio::test]
async fn a_reader_that_never_reads_holds_up_nobody() {
    let platform = platform().start().await;
    let id = held(&platform).await;
    let stuck = log(&platform, id, "", &[]).await;
    for _ in 0..200 {
        platform.node.log_line(id, &"x".repeat(50_000));
    }
    platform.node.finish(id, ended(Status::Completed, None)).await;

    assert_eq!(platform.end(id).await.status, Status::Completed);
    let mut bytes = 0;
    let mut other = log(&platform, id, "", &[("Accept", "application/x-ndjson")])
        .await
        .bytes_stream();
    while let Some(chunk) = other.next().await {
        bytes += chunk.unwrap().len();
    }
    assert!(bytes > 200 * 50_000);
    drop(stuck);
}

#[tokio::test]
async fn a_log_ends_when_the_server_does() {
    let platform = platform().start().await;
    let id = held(&platform).await;
    let mut response = log(&platform, id, "", &[]).await;
    read_until(&mut response, |text| text.contains(": log")).await;
    assert!(platform.handle.close(Duration::from_secs(5)).await);
    read_until(&mut response, |text| text.contains("event: error")).await;
}
