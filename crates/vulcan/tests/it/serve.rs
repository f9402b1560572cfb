//! `vulcan serve`: starting, refusing to start, and ending.

use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use crate::place::{Place, Server, end_of, eventually, is_running, send};

#[tokio::test]
async fn a_server_says_what_it_found_and_ends_in_order() {
    let place = Place::new();
    let server = Server::start(&place).await;
    assert!(
        server.said.contains("found: nothing left over"),
        "{}",
        server.said
    );
    assert!(server.said.contains("sandbox: "), "{}", server.said);
    let mode = std::fs::metadata(place.path("data"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);

    send(server.child(), Signal::TERM);

    let end = end_of(server.into_child()).await.with(0);
    assert!(
        end.stderr.contains("SIGTERM: waiting for 0 workloads"),
        "{}",
        end.stderr
    );
    assert!(end.stderr.ends_with("stopped\n"), "{}", end.stderr);
}

#[tokio::test]
async fn the_first_signal_waits_for_workloads() {
    let place = Place::new();
    let server = Server::start(&place).await;
    let id = submit(&place, &server, "sleep 1.0301; echo done", "1.0301").await;

    send(server.child(), Signal::INT);

    let end = end_of(server.into_child()).await.with(0);
    assert!(end.stderr.contains("waiting for 1 workloads"), "{}", end.stderr);
    let again = Server::start(&place).await;
    let status = again.run(&place, &["status", &id, "--json"]).await.with(0);
    assert!(
        status.stdout.contains(r#""status": "completed""#),
        "{}",
        status.stdout
    );
}

#[tokio::test]
async fn the_second_signal_stops_them() {
    let place = Place::new();
    let server = Server::start(&place).await;
    submit(&place, &server, "sleep 71.0302", "71.0302").await;

    send(server.child(), Signal::INT);
    let mut child = server.into_child();
    let mut stderr = tokio::io::BufReader::new(child.stderr.take().unwrap());
    wait_for(&mut stderr, "waiting for 1 workloads").await;
    send(&child, Signal::INT);

    wait_for(&mut stderr, "stopping 1 workloads").await;
    end_of(child).await.with(0);
    assert!(!is_running("71.0302"));
}

#[tokio::test]
async fn after_kill_9_a_server_ends_what_was_running_and_says_so() {
    let place = Place::new();
    let server = Server::start(&place).await;
    let id = submit(&place, &server, "sleep 71.0303", "71.0303").await;

    send(server.child(), Signal::KILL);
    end_of(server.into_child()).await;
    let again = Server::start(&place).await;

    assert!(!again.said.contains("nothing left over"), "{}", again.said);
    let end = again.run(&place, &["wait", &id]).await.with(125);
    assert!(end.stderr.contains("hint: run it again"), "{}", end.stderr);
    eventually("the program is gone", || !is_running("71.0303")).await;
}

#[tokio::test]
async fn an_address_that_others_can_reach_is_refused() {
    let place = Place::new();
    let data = place.path("data");
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:10.0.0.1]:0"] {
        let args = ["serve", "--data-dir", data.to_str().unwrap(), "--listen", address];
        let end = place.run(&args).await.with(2);
        assert!(
            end.stderr.contains("there is no authentication yet"),
            "{}",
            end.stderr
        );
        assert!(end.stderr.contains("hint: listen on 127.0.0.1"), "{}", end.stderr);
    }
    assert!(!data.exists(), "nothing was made");
}

#[tokio::test]
async fn a_second_server_on_the_same_data_or_the_same_port_is_refused() {
    let place = Place::new();
    let server = Server::start(&place).await;
    let (data, other) = (place.path("data"), place.path("other"));
    let address = server.url.strip_prefix("http://").unwrap();

    let same_data = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        data.to_str().unwrap(),
    ];
    let end = place.run(&same_data).await.with(4);
    assert!(end.stderr.contains("owns the data directory"), "{}", end.stderr);
    let same_port = [
        "serve",
        "--listen",
        address,
        "--data-dir",
        other.to_str().unwrap(),
    ];
    let end = place.run(&same_port).await.with(4);
    assert!(end.stderr.contains("something else listens on"), "{}", end.stderr);

    // The first one did not notice.
    server
        .run(&place, &["run", "-r", "bash", "-c", "true"])
        .await
        .with(0);
}

#[tokio::test]
async fn a_broken_configuration_names_its_line() {
    let place = Place::new();
    let file = place.file("vulcan.toml", "[server]\n\nlissten = \"127.0.0.1:0\"\n");

    let end = place
        .run(&["serve", "--config", file.to_str().unwrap()])
        .await
        .with(2);

    let expected = format!(
        "error: could not load the configuration: {}:3: there is no key 'server.lissten'\nhint: did you mean 'server.listen'?\n",
        file.display()
    );
    assert_eq!(end.stderr, expected);
}

#[tokio::test]
async fn the_effective_configuration_can_be_printed() {
    let place = Place::new();
    let end = place
        .run(&["serve", "--print-config", "--set", "limits.max.mem=2GiB"])
        .await
        .with(0);
    assert!(end.stdout.contains("mem = \"2GiB\""), "{}", end.stdout);
    let file = place.file("printed.toml", &end.stdout);
    let again = place
        .run(&["serve", "--print-config", "--config", file.to_str().unwrap()])
        .await
        .with(0);
    assert_eq!(again.stdout, end.stdout);
}

#[tokio::test]
async fn a_configured_limit_reaches_the_api() {
    let place = Place::new();
    place.file("vulcan.toml", "[limits.max]\ntimeout = \"40s\"\n");
    let mut command = place.vulcan(&["run", "--embedded", "-r", "bash", "-c", "true", "--timeout", "60"]);
    command.env("VULCAN_LIMITS_MAX_TIMEOUT", "50s");
    let end = crate::place::ended(command).await.with(2);
    assert!(end.stderr.contains("to 50"), "{}", end.stderr);
}

/// Submits a script, waits until it runs, and returns its id.
async fn submit(place: &Place, server: &Server, code: &str, mark: &str) -> String {
    let args = ["run", "--async", "-r", "bash", "-c", code, "--timeout", "300"];
    let end = server.run(place, &args).await.with(0);
    eventually("the program runs", || is_running(mark)).await;
    end.stdout.trim().to_owned()
}

async fn wait_for(lines: &mut tokio::io::BufReader<tokio::process::ChildStderr>, text: &str) {
    use tokio::io::AsyncBufReadExt;
    let reading = async {
        loop {
            let mut line = String::new();
            assert_ne!(
                lines.read_line(&mut line).await.unwrap(),
                0,
                "it ended without '{text}'"
            );
            if line.contains(text) {
                return;
            }
        }
    };
    tokio::time::timeout(crate::place::LIMIT, reading).await.unwrap();
}
