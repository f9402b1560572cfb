//! Logs as their readers get them.

use std::{fs, os::unix::fs::symlink, time::Duration};

use tokio::time::timeout;
use vulcan_api::{LogStream, Status};
use vulcan_bus::Command;

use crate::harness::{Bench, PATIENCE, gather, new_id, program, texts, until};

#[tokio::test]
async fn lines_keep_their_order_and_their_stream() {
    let mut bench = Bench::new().await;
    let workload = bench
        .assign(program("stdout a\nstderr b\nstdout c\nbytes stdout 64"))
        .await;
    bench.end(workload).await;

    let lines = bench.log(workload).await;

    let shape: Vec<_> = lines
        .iter()
        .map(|line| (line.stream, line.text.as_str()))
        .collect();
    let (out, err) = (LogStream::Stdout, LogStream::Stderr);
    assert_eq!(shape, [(out, "a"), (err, "b"), (out, "c"), (out, "d")]);
    assert!(
        lines
            .windows(2)
            .all(|pair| pair[0].id < pair[1].id && pair[0].time <= pair[1].time)
    );
}

#[tokio::test]
async fn a_reader_goes_on_where_it_was() {
    let mut bench = Bench::new().await;
    let workload = bench.assign(program("flood stdout 100000\nstdout end")).await;
    bench.end(workload).await;
    let all = bench.log(workload).await;
    assert_eq!(all.len(), 1001);

    for at in [0, 1, 255, 256, 257, 999, 1000] {
        let rest = gather(bench.read(workload, all[at].id, false).await).await;
        assert_eq!(rest, all[at + 1..]);
    }
}

#[tokio::test]
async fn a_position_that_is_none_gives_whole_lines_all_the_same() {
    let mut bench = Bench::new().await;
    let workload = bench
        .assign(program("stdout one\nstdout [1,\"s\",0,\"x\"]\nstdout three"))
        .await;
    bench.end(workload).await;
    let all = bench.log(workload).await;

    for after in 0..all[2].id + 10 {
        let rest = gather(bench.read(workload, after, false).await).await;
        let expected: Vec<_> = all
            .iter()
            .filter(|line| rest.first().is_some_and(|first| line.id >= first.id))
            .collect();
        assert!(rest.iter().eq(expected), "after {after}: {rest:?}");
        assert!(rest.iter().all(|line| line.id > after), "after {after}: {rest:?}");
    }
    assert_eq!(gather(bench.read(workload, u64::MAX, true).await).await, []);
}

#[tokio::test]
async fn a_follower_sees_lines_while_they_come_and_ends_with_the_workload() {
    let mut bench = Bench::new().await;
    let workload = bench.assign(program("stdout one\nhang")).await;
    let mut batches = bench.read(workload, 0, true).await;

    let first = timeout(PATIENCE, batches.recv()).await.unwrap().unwrap().unwrap();

    assert_eq!(texts(&first.lines), ["one"]);
    bench.kill(workload).await;
    bench.end(workload).await;
    assert_eq!(gather(batches).await, []);
}

#[tokio::test]
async fn who_does_not_follow_gets_what_is_there() {
    let mut bench = Bench::new().await;
    let workload = bench.assign(program("stdout one\nhang")).await;
    let mut follower = bench.read(workload, 0, true).await;
    follower.recv().await.unwrap().unwrap();
    assert_eq!(
        texts(&gather(bench.read(workload, 0, false).await).await),
        ["one"]
    );
    bench.kill(workload).await;
    bench.end(workload).await;
}

#[tokio::test]
async fn a_follower_of_a_silent_workload_ends_with_it() {
    let mut bench = Bench::new().await;
    let workload = bench.assign(program("hang")).await;
    let batches = bench.read(workload, 0, true).await;
    bench.kill(workload).await;
    bench.end(workload).await;
    assert_eq!(gather(batches).await, []);
    assert!(!bench.directory.path().join("data/logs").exists());
}

#[tokio::test]
async fn the_log_of_nothing_is_empty() {
    let bench = Bench::new().await;
    assert_eq!(bench.log(new_id()).await, []);
}

#[tokio::test]
async fn a_reader_that_never_reads_holds_nobody_up() {
    let mut bench = Bench::new().await;
    let workload = bench.assign(program("flood stdout 3000000")).await;
    let batches = bench.read(workload, 0, true).await;
    assert_eq!(bench.end(workload).await.status, Status::Completed);
    assert_eq!(gather(batches).await.len(), 30_000);
}

#[tokio::test]
async fn the_cap_is_kept_and_said() {
    let mut bench = Bench::new().await;
    let mut assignment = program("stdout first\nflood stderr 3000000\nstdout last");
    assignment.log_bytes_max = 20_000;
    let workload = bench.assign(assignment).await;

    let end = bench.end(workload).await;

    assert_eq!((end.status, end.logs_truncated), (Status::Completed, true));
    let lines = bench.log(workload).await;
    let system: Vec<_> = lines
        .iter()
        .filter(|line| line.stream == LogStream::System)
        .collect();
    assert_eq!(system.len(), 1);
    assert_eq!(
        system[0].text,
        "log truncated: the cap of 20000 bytes was reached; later output was dropped"
    );
    assert_eq!(lines.last().unwrap().stream, LogStream::System);
    assert!(lines.len() > 100);
    assert!(fs::metadata(bench.log_path(workload)).unwrap().len() < 20_200);
}

#[tokio::test]
async fn a_long_line_comes_in_parts() {
    let mut bench = Bench::new().await;
    let text = "é".repeat(20_000);
    let workload = bench.assign(program(&format!("stdout {text}"))).await;
    bench.end(workload).await;

    let lines = bench.log(workload).await;

    assert_eq!(
        lines.iter().map(|line| line.partial).collect::<Vec<_>>(),
        [true, true, false]
    );
    assert_eq!(
        lines.iter().map(|line| line.text.as_str()).collect::<String>(),
        text
    );
}

#[tokio::test]
async fn bytes_that_are_no_text_are_replaced() {
    let mut bench = Bench::new().await;
    let workload = bench.assign(program("bytes stdout 61ff62000a")).await;
    bench.end(workload).await;
    assert_eq!(texts(&bench.log(workload).await), ["a\u{fffd}b\0"]);
}

#[tokio::test]
async fn a_guest_cannot_speak_as_the_platform() {
    let mut bench = Bench::new().await;
    let text = "stdout x\nbytes stdout 5b312c2273222c302c22666f72676564225d0a\nbytes system 7468697320697320796f757220686f73740a";
    let workload = bench.assign(program(text)).await;
    bench.end(workload).await;

    let lines = bench.log(workload).await;

    assert_eq!(
        texts(&lines),
        ["x", "[1,\"s\",0,\"forged\"]", "agent: this is your host"]
    );
    assert_eq!(lines[1].stream, LogStream::Stdout);
}

#[tokio::test]
async fn a_full_disk_does_not_end_the_workload() {
    let mut bench = Bench::new().await;
    let assignment = program("stdout lost\noutput 1");
    let path = bench.log_path(assignment.workload);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    symlink("/dev/full", &path).unwrap();

    let workload = bench.assign(assignment).await;

    let end = bench.end(workload).await;
    assert_eq!(
        (end.status, end.output, end.logs_truncated),
        (Status::Completed, Some(1.into()), true)
    );
    assert!(bench.metrics().contains("vulcan_logs_truncated_total 1"));
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_does_not_end_the_workload() {
    let mut bench = Bench::new().await;
    fs::write(bench.directory.path().join("data/logs"), "in the way").unwrap();
    let end = bench.run("flood stdout 200000\noutput 1").await;
    assert_eq!((end.status, end.logs_truncated), (Status::Completed, true));
}

#[tokio::test]
async fn a_log_that_was_tampered_with_is_an_error_and_no_garbage() {
    let mut bench = Bench::new().await;
    let workload = bench.assign(program("stdout a")).await;
    bench.end(workload).await;
    let path = bench.log_path(workload);
    for content in ["vulcan-log 2\n[]\n", "vulcan-log 1\nrubbish\n"] {
        fs::write(&path, content).unwrap();
        let mut batches = bench.read(workload, 0, true).await;
        assert!(batches.recv().await.unwrap().is_err(), "{content}");
        assert!(batches.recv().await.is_none());
    }
}

#[tokio::test]
async fn a_forgotten_log_is_deleted() {
    let mut bench = Bench::new().await;
    let workload = bench.assign(program("stdout a")).await;
    bench.end(workload).await;
    let path = bench.log_path(workload);
    assert!(path.exists());
    bench
        .command(Command::Forget {
            workloads: vec![workload, new_id()],
        })
        .await;
    until("the log is gone", || !path.exists()).await;
}

#[tokio::test]
async fn a_line_is_seen_soon() {
    let mut bench = Bench::new().await;
    let workload = bench.assign(program("sleep 20\nstdout now\nhang")).await;
    let mut batches = bench.read(workload, 0, true).await;
    // Ten times what is promised: the machine may be busy.
    let batch = timeout(Duration::from_millis(20 + 200), batches.recv()).await;
    assert_eq!(texts(&batch.unwrap().unwrap().unwrap().lines), ["now"]);
    bench.kill(workload).await;
    bench.end(workload).await;
}
