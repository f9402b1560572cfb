//! Spans reach the collector that OpenTelemetry's variables name.

use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

use crate::place::{LIMIT, Place, Server, end_of, send};

#[tokio::test]
async fn the_spans_of_a_workload_reach_the_collector() {
    let place = Place::new();
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let (seen, mut requests) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((stream, _)) = collector.accept().await {
            tokio::spawn(answer(stream, seen.clone()));
        }
    });
    let server = Server::start_with(&place, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).await;
    server
        .run(&place, &["run", "-r", "bash", "-c", "true"])
        .await
        .with(0);

    // What is not sent yet is sent at the end.
    send(server.child(), Signal::TERM);
    end_of(server.into_child()).await.with(0);

    // The request's span and the assignment's name the same workload: that is what connects them.
    let is_complete = |received: &str| {
        ["request", "assignment", "start"]
            .iter()
            .all(|name| received.contains(name))
            && received.matches("workload.id").count() >= 2
    };
    let mut received = String::new();
    while !is_complete(&received) {
        received += &timeout(LIMIT, requests.recv())
            .await
            .expect("all spans come")
            .unwrap();
    }
    assert!(
        received.starts_with("POST /v1/traces HTTP/1.1"),
        "{received:.100}"
    );
}

/// Takes what an exporter sends, and is content with it.
async fn answer(mut stream: TcpStream, seen: mpsc::Sender<String>) {
    let mut bytes = [0; 8192];
    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
        // The body is protobuf, in which texts stand as they are.
        seen.send(String::from_utf8_lossy(&bytes[..read]).into_owned())
            .await
            .ok();
        if read < bytes.len() {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await
                .ok();
        }
    }
}
