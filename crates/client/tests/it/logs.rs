//! The log stream: order, resumption, and giving up.

use vulcan_api::WorkloadId;
use vulcan_client::{ClientError, LogOptions, LogTail};

use crate::server::{Answer, Scripted, events, with_type};

fn tail(server: &Scripted) -> LogTail {
    let id: WorkloadId = "wl_01JKQX7V8MZRN3B4HTGFWDCS9E".parse().unwrap();
    server.client.logs(id, LogOptions::default())
}

fn line(id: u64, text: &str) -> String {
    format!(
        "id: {id}\nevent: log\ndata: {{\"id\": {id}, \"time\": \"2026-11-22T10:00:00.000Z\", \"stream\": \"stdout\", \
         \"text\": \"{text}\"}}\n\n"
    )
}

const END: &str = "event: end\ndata: {}\n\n";

async fn texts(tail: &mut LogTail) -> (Vec<String>, Option<ClientError>) {
    let mut texts = Vec::new();
    while let Some(line) = tail.next().await {
        match line {
            Ok(line) => texts.push(line.text),
            Err(error) => return (texts, Some(error)),
        }
    }
    (texts, None)
}

#[tokio::test]
async fn lines_come_in_order_and_the_end_mark_ends_them() {
    let body = format!(
        ": hello\n\n{}{}{END}{}",
        line(1, "a"),
        line(2, "b"),
        line(3, "never")
    );
    let server = Scripted::start(vec![events(&body, true)]).await;

    let (lines, error) = texts(&mut tail(&server)).await;

    assert_eq!(lines, ["a", "b"]);
    assert!(error.is_none());
    assert!(server.requests()[0].contains("accept: text/event-stream"));
}

#[tokio::test]
async fn a_broken_stream_goes_on_where_it_broke_and_no_line_comes_twice() {
    let server = Scripted::start(vec![
        events(&line(5, "a"), false),
        Answer::Hangup,
        events(&format!("{}{}", line(5, "a"), line(9, "b")), true),
        events(END, true),
    ])
    .await;

    let (lines, error) = texts(&mut tail(&server)).await;

    assert_eq!(lines, ["a", "b"]);
    assert!(error.is_none(), "{error:?}");
    let resumed: Vec<bool> = server
        .requests()
        .iter()
        .map(|request| request.contains("last-event-id: "))
        .collect();
    assert_eq!(resumed, [false, true, true, true]);
    assert!(server.requests()[3].contains("last-event-id: 9"));
}

#[tokio::test]
async fn a_stream_that_stays_broken_is_given_up_with_the_last_error() {
    let server = Scripted::start(vec![Answer::Hangup; 20]).await;

    let mut tail = tail(&server);
    let (lines, error) = texts(&mut tail).await;

    assert!(lines.is_empty());
    assert!(
        matches!(error, Some(ClientError::Interrupted { .. })),
        "{error:?}"
    );
    assert_eq!(server.requests().len(), 7);
    assert!(tail.next().await.is_none(), "nothing follows an error");
}

#[tokio::test]
async fn a_refusal_is_not_retried() {
    let problem =
        r#"{"type": "/problems/workload-not-found", "title": "t", "status": 404, "detail": "no workload"}"#;
    let server = Scripted::start(vec![with_type(
        "404 Not Found",
        "application/problem+json",
        problem,
    )])
    .await;

    let (_, error) = texts(&mut tail(&server)).await;

    assert_eq!(error.unwrap().problem().unwrap().slug(), "workload-not-found");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_line_that_is_none_is_malformed() {
    let server = Scripted::start(vec![events("event: log\ndata: {}\n\n", true)]).await;
    let (_, error) = texts(&mut tail(&server)).await;
    assert!(matches!(error, Some(ClientError::Malformed { .. })), "{error:?}");
}

#[tokio::test]
async fn an_error_of_the_server_is_a_break_and_stays_bounded() {
    let broken = events("event: error\ndata: {\"error\": \"disk\"}\n\n", true);
    let server = Scripted::start(vec![broken; 20]).await;

    let (_, error) = texts(&mut tail(&server)).await;

    assert!(error.unwrap().to_string().contains("disk"));
    assert_eq!(server.requests().len(), 7);
}
