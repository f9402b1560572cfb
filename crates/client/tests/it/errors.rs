//! Every error, and what its text says.

use std::time::Duration;

use vulcan_client::{Client, ClientError};

use crate::server::{Answer, Scripted, json, with_type};

#[tokio::test]
async fn a_problem_document_arrives_whole() {
    let problem = r#"{"type": "/problems/overloaded", "title": "t", "status": 503, "detail": "the queue is full",
        "retry_after_s": 2}"#;
    let server = Scripted::start(vec![with_type(
        "503 Service Unavailable",
        "application/problem+json",
        problem,
    )])
    .await;

    let error = server.client.stats().await.unwrap_err();

    assert_eq!(error.problem().unwrap().slug(), "overloaded");
    assert_eq!(error.to_string(), "the queue is full");
    assert_eq!(error.hint().as_deref(), Some("try again in 2 s"));
}

#[tokio::test]
async fn nobody_listening_is_unreachable_and_says_how_to_start_a_server() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = Client::new(endpoint.parse().unwrap()).unwrap();

    let error = client.stats().await.unwrap_err();

    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    assert_eq!(error.to_string(), format!("no server answers at {endpoint}"));
    assert!(error.hint().unwrap().contains("vulcan serve"));
}

#[tokio::test]
async fn a_server_that_hangs_up_is_an_interruption() {
    let server = Scripted::start(vec![Answer::Hangup]).await;
    let error = server.client.stats().await.unwrap_err();
    assert!(matches!(error, ClientError::Interrupted { .. }), "{error:?}");
}

#[tokio::test]
async fn a_silent_server_is_a_timeout() {
    let server = Scripted::start(vec![Answer::Silence]).await;
    let error = server.client.health(Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error:?}");
}

#[tokio::test]
async fn a_foreign_server_is_told_apart() {
    let server = Scripted::start(vec![
        with_type("404 Not Found", "text/html", "<h1>\u{1b}[31mnginx</h1>"),
        json("200 OK", r#"{"status": "ok"}"#),
        with_type("200 OK", "text/plain", "ok\n"),
        json("200 OK", r#"{"what": "else"}"#),
        json("200 OK", r#"{"what": "else"}"#),
    ])
    .await;
    let client = &server.client;

    let page = client.stats().await.unwrap_err().to_string();
    assert!(
        page.ends_with("HTTP 404 Not Found: <h1> [31mnginx</h1>"),
        "{page}"
    );
    for error in [
        client.health(Duration::from_secs(5)).await.unwrap_err(),
        client.health(Duration::from_secs(5)).await.unwrap_err(),
        client.stats().await.unwrap_err(),
    ] {
        assert!(matches!(error, ClientError::Malformed { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_vulcan_server_is_known_by_its_health_and_its_nodes() {
    let server = Scripted::start(vec![
        with_type("200 OK", "text/plain", "ok\n"),
        json("200 OK", r#"{"nodes": []}"#),
    ])
    .await;

    server.client.health(Duration::from_secs(5)).await.unwrap();
}
