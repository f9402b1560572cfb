//! Signals and closed pipes in the middle of `vulcan run`: nothing stays behind.

use rustix::process::Signal;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Child,
};

use crate::place::{Place, end_of, eventually, is_running, line_with, send};

/// Starts a program that has said that it runs, and never ends; `mark` tells its process from all others.
async fn endless(place: &Place, mark: &str) -> (Child, BufReader<tokio::process::ChildStdout>) {
    let code = format!("echo ready; sleep {mark}");
    let mut child = place
        .vulcan(&["run", "--embedded", "-r", "bash", "-c", &code, "--timeout", "300"])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    line_with(&mut lines, "ready").await;
    eventually("the program runs", || is_running(mark)).await;
    (child, lines)
}

#[tokio::test]
async fn ctrl_c_kills_the_workload_and_leaves_nothing() {
    for (signal, mark) in [
        (Signal::INT, "71.0101"),
        (Signal::TERM, "71.0102"),
        (Signal::HUP, "71.0103"),
    ] {
        let place = Place::new();
        let (child, _lines) = endless(&place, mark).await;

        send(&child, signal);

        let end = end_of(child).await.with(137);
        assert!(
            end.stderr.contains("error: could not complete wl_"),
            "{}",
            end.stderr
        );
        assert!(!is_running(mark));
        assert!(place.leftovers().is_empty(), "{:?}", place.leftovers());
    }
}

#[tokio::test]
async fn what_a_killed_command_left_is_removed_by_the_next() {
    let place = Place::new();
    let (child, _lines) = endless(&place, "71.0201").await;

    send(&child, Signal::KILL);
    end_of(child).await;
    eventually("the program dies with the command", || !is_running("71.0201")).await;
    assert_eq!(place.leftovers().len(), 1);
    place.embedded(&["-r", "bash", "-c", "true"]).await.with(0);

    assert!(place.leftovers().is_empty(), "{:?}", place.leftovers());
}

#[tokio::test]
async fn a_closed_standard_output_ends_an_endless_program_in_peace() {
    let place = Place::new();
    let mut child = place
        .vulcan(&[
            "run",
            "--embedded",
            "-r",
            "bash",
            "-c",
            "while :; do echo y; done",
            "--timeout",
            "300",
        ])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    line_with(&mut lines, "y").await;

    drop(lines);

    let end = end_of(child).await.with(0);
    assert_eq!(end.stderr, "");
    assert!(place.leftovers().is_empty(), "{:?}", place.leftovers());
}

#[tokio::test]
async fn a_second_ctrl_c_leaves_with_130_where_a_kill_hangs() {
    let place = Place::new();
    let (url, mut asked) = stuck_server().await;
    let child = place
        .vulcan(&["run", "--server", &url, "-r", "bash", "-c", "true"])
        .spawn()
        .unwrap();
    until_asked(&mut asked, "GET /v1/workloads/").await;

    send(&child, Signal::INT);
    until_asked(&mut asked, "DELETE /v1/workloads/").await;
    send(&child, Signal::INT);

    let end = end_of(child).await.with(130);
    assert!(end.stderr.contains("hint: on a server, wl_"), "{}", end.stderr);
}

/// Starts a server that takes a workload and answers nothing else; returns what it is asked.
async fn stuck_server() -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    const ACCEPTED: &str = r#"{"id": "wl_01JKQX7V8MZRN3B4HTGFWDCS9E", "status": "pending"}"#;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, answers) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let asked = asked.clone();
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap();
                let is_submission = line.starts_with("POST");
                asked.send(line).ok();
                if is_submission {
                    let length = ACCEPTED.len();
                    let answer = format!(
                        "HTTP/1.1 202 Accepted\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{ACCEPTED}"
                    );
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    stream.flush().await.unwrap();
                }
                // Keeps the connection open without an answer, until the client leaves.
                tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok();
            });
        }
    });
    (url, answers)
}

async fn until_asked(asked: &mut tokio::sync::mpsc::UnboundedReceiver<String>, start: &str) {
    let waiting = async { while !asked.recv().await.unwrap().starts_with(start) {} };
    tokio::time::timeout(crate::place::LIMIT, waiting).await.unwrap();
}
