//! The commands that ask a server.

use serde_json::Value;
use tokio::io::BufReader;
use vulcan_api::{LogLine, Status, Workload, WorkloadAccepted, WorkloadList};

use crate::place::{Place, Server, end_of, eventually, is_running, line_with};

fn json<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn a_workload_in_the_background_is_found_waited_for_and_read() {
    let place = Place::new();
    let server = Server::start(&place).await;
    let code = "echo one; echo two >&2; exit 5";
    let args = ["run", "--async", "--json", "-r", "bash", "-c", code, "-l", "k=v"];
    let accepted: WorkloadAccepted = json(&server.run(&place, &args).await.with(0).stdout);
    let id = accepted.id.to_string();

    server.run(&place, &["wait", &id]).await.with(5);

    let record: Workload = json(
        &server
            .run(&place, &["status", &id, "--json"])
            .await
            .with(0)
            .stdout,
    );
    assert_eq!((record.status, record.exit_code), (Status::Failed, Some(5)));
    let table = server.run(&place, &["status", &id]).await.with(0).stdout;
    assert!(
        table.contains("status     failed\n") && table.contains("labels     k=v\n"),
        "{table}"
    );
    let log = server.run(&place, &["logs", &id]).await.with(0).stdout;
    let mut lines: Vec<&str> = log.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["one", "two"]);
    let log = server
        .run(&place, &["logs", "-f", "--json", &id])
        .await
        .with(0)
        .stdout;
    assert_eq!(log.lines().map(json::<LogLine>).count(), 2);
    let list: WorkloadList = json(
        &server
            .run(&place, &["ls", "--json", "--status", "failed"])
            .await
            .with(0)
            .stdout,
    );
    assert_eq!(list.workloads.len(), 1);
    let none = server
        .run(&place, &["ls", "--status", "killed"])
        .await
        .with(0)
        .stdout;
    assert_eq!(none.lines().count(), 1, "{none}");
}

#[tokio::test]
async fn logs_follow_until_a_kill() {
    let place = Place::new();
    let server = Server::start(&place).await;
    let code = "echo begun; sleep 71.0401";
    let args = ["run", "--async", "-r", "bash", "-c", code, "--timeout", "300"];
    let id = server.run(&place, &args).await.with(0).stdout.trim().to_owned();
    let mut following = place
        .vulcan(&["logs", "-f", &id, "--server", &server.url])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap());
    line_with(&mut lines, "begun").await;
    eventually("the program runs", || is_running("71.0401")).await;

    let end = server.run(&place, &["kill", &id]).await.with(0);

    assert_eq!(end.stdout, format!("{id} killed\n"));
    end_of(following).await.with(0);
    server.run(&place, &["wait", &id]).await.with(137);
    let again = server.run(&place, &["kill", &id]).await.with(0);
    assert_eq!(again.stdout, format!("{id} killed\n"), "a kill may be repeated");
}

#[tokio::test]
async fn waiting_gives_up_at_its_time_with_124() {
    let place = Place::new();
    let server = Server::start(&place).await;
    let args = [
        "run",
        "--async",
        "-r",
        "bash",
        "-c",
        "sleep 71.0402",
        "--timeout",
        "300",
    ];
    let id = server.run(&place, &args).await.with(0).stdout.trim().to_owned();

    let end = server
        .run(&place, &["wait", &id, "--timeout", "100ms"])
        .await
        .with(124);

    assert!(end.stderr.contains("hint: wait longer"), "{}", end.stderr);
    server.run(&place, &["kill", &id]).await.with(0);
}

#[tokio::test]
async fn a_list_goes_on_over_pages_and_a_closed_pipe_is_no_error() {
    let place = Place::new();
    let server = Server::start(&place).await;
    for _ in 0..3 {
        server
            .run(&place, &["run", "-r", "bash", "-c", "true"])
            .await
            .with(0);
    }

    let list: WorkloadList = json(
        &server
            .run(&place, &["ls", "--limit", "2", "--json"])
            .await
            .with(0)
            .stdout,
    );
    assert_eq!(list.workloads.len(), 2);
    assert!(list.next_cursor.is_some());
    let all: WorkloadList = json(
        &server
            .run(&place, &["ls", "--all", "--json"])
            .await
            .with(0)
            .stdout,
    );
    assert_eq!(all.workloads.len(), 3);

    let mut child = place
        .vulcan(&["ls", "--all", "--server", &server.url])
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let end = end_of(child).await.with(0);
    assert_eq!(end.stderr, "");
}

#[tokio::test]
async fn every_question_has_an_answer_for_people_and_one_for_programs() {
    let place = Place::new();
    let server = Server::start(&place).await;
    for (command, head) in [
        ("nodes", "NODE"),
        ("backends", "ISOLATION"),
        ("stats", "version"),
        ("doctor", "container: "),
        ("ls", "ID"),
    ] {
        let people = server.run(&place, &[command]).await;
        assert!(people.stdout.starts_with(head), "{command}: {people:?}");
        let programs = server.run(&place, &[command, "--json"]).await;
        assert!(
            json::<Value>(&programs.stdout).is_object(),
            "{command}: {programs:?}"
        );
    }
}

#[tokio::test]
async fn an_unknown_workload_is_a_refusal_with_its_page() {
    let place = Place::new();
    let server = Server::start(&place).await;
    let end = server
        .run(&place, &["status", "wl_01JKQX7V8MZRN3B4HTGFWDCS9E"])
        .await
        .with(2);
    assert!(
        end.stderr
            .contains("hint: see docs/problems/workload-not-found.md"),
        "{}",
        end.stderr
    );
}

#[tokio::test]
async fn completions_are_made_for_every_shell() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let end = place.run(&["completions", shell]).await.with(0);
        assert!(end.stdout.contains("vulcan"), "{shell}");
    }
}
