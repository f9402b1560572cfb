//! Peers that speak something else than HTTP, or stop in the middle.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::platform::{code, platform};

#[tokio::test]
async fn what_is_no_http_breaks_only_its_own_connection() {
    let platform = platform().start().await;
    let address = platform.url.strip_prefix("http://").unwrap();
    for garbage in [
        b"\x16\x03\x01\x00\xa5".as_slice(),
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/workloads HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"POST /v1/workloads HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // Some are answered with 400, some are just closed.
        drop(tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.unwrap());
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.contains("HTTP/1.1 200"), "{text}");
    }
    assert_eq!(platform.run(&code("ok")).await.exit_code, Some(0));
}

#[tokio::test]
async fn a_body_that_breaks_off_runs_nothing() {
    let platform = platform().start().await;
    let mut stream = TcpStream::connect(platform.url.strip_prefix("http://").unwrap())
        .await
        .unwrap();
    let head = "POST /v1/workloads HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    drop(stream);
    assert_eq!(platform.run(&code("ok")).await.exit_code, Some(0));
    assert_eq!(platform.node.lock(|memory| memory.assigned.len()), 1);
}
