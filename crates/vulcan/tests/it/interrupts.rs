//! Signals and closed pipes in the middle of `vulcan run`: nothing stays behind.

use rustix::process::Signal;
use tokio::{io::BufReader, process::Child};

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
