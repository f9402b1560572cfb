//! Every exit code that the documentation lists.

use crate::place::Place;

#[tokio::test]
async fn a_programs_exit_code_is_the_commands() {
    let place = Place::new();
    let end = place
        .embedded(&["-r", "bash", "-c", "echo before; exit 42"])
        .await
        .with(42);
    assert_eq!(
        (end.stdout.as_str(), end.stderr.as_str()),
        ("before\n", ""),
        "as a local one"
    );
}

#[tokio::test]
async fn a_handler_that_throws_is_1_and_shows_its_traceback_once() {
    let place = Place::new();
    place.file("h.py", "def handler(input, context):\n  raise ValueError('bad')");

    let end = place.embedded(&["h.py"]).await.with(1);

    assert_eq!(end.stdout, "");
    assert_eq!(end.stderr.matches("Traceback").count(), 1, "{}", end.stderr);
    assert!(
        end.stderr
            .contains("ValueError: bad\nerror: could not complete wl_"),
        "{}",
        end.stderr
    );
}

#[tokio::test]
async fn the_time_limit_is_124() {
    let place = Place::new();
    let end = place
        .embedded(&["-r", "bash", "-c", "sleep 60", "--timeout", "300ms"])
        .await
        .with(124);
    assert!(end.stderr.contains("hint: give it more time"), "{}", end.stderr);
}

#[tokio::test]
async fn a_program_that_is_killed_is_128_and_its_signal() {
    let place = Place::new();
    place
        .embedded(&["-r", "bash", "-c", "kill -9 $$"])
        .await
        .with(137);
    place
        .embedded(&["-r", "bash", "-c", "kill -15 $$"])
        .await
        .with(143);
}

#[tokio::test]
async fn a_refusal_is_2_and_names_the_field_and_what_is_allowed() {
    let place = Place::new();
    let end = place
        .embedded(&["-r", "bash", "-c", "true", "--mem", "99999999"])
        .await
        .with(2);
    assert!(
        end.stderr.contains("  resources.mem_mb is 99999999; allowed: "),
        "{}",
        end.stderr
    );
    assert!(
        end.stderr.contains("hint: see docs/problems/limit-exceeded.md"),
        "{}",
        end.stderr
    );
    assert!(place.leftovers().is_empty(), "{:?}", place.leftovers());
}

#[tokio::test]
async fn what_cannot_be_read_is_2() {
    let place = Place::new();
    place.file("what.xyz", "?");
    for (args, said) in [
        (
            &["run", "nowhere.py"][..],
            "error: could not read nowhere.py: No such file",
        ),
        (
            &["run", "what.xyz"],
            "error: could not tell the runtime of what.xyz",
        ),
        (&["run"], "error: could not find what to run"),
        (&["run", "-c", "1"], "error: could not tell the runtime of --code"),
        (
            &["run", "what.xyz", "-r", "bash", "-i", "{"],
            "error: could not read the input: --input is not JSON",
        ),
        (
            &["run", "what.xyz", "-r", "bash", "-e", "NOWHERE"],
            "error: could not pass on --env NOWHERE",
        ),
        (
            &["run", "--archive", "."],
            "error: could not tell what to run in .",
        ),
        (
            &["run", "--async", "what.xyz", "--mem", "x"],
            "error: invalid value 'x' for '--mem <SIZE>'",
        ),
        (&["status", "wl_1"], "error: invalid value 'wl_1' for '<ID>'"),
        (&["frobnicate"], "error: unrecognized subcommand 'frobnicate'"),
    ] {
        let end = place.run(args).await.with(2);
        assert!(end.stderr.starts_with(said), "{args:?}: {}", end.stderr);
        assert_eq!(end.stdout, "");
    }
}

#[tokio::test]
async fn no_server_is_3_and_says_how_to_get_one() {
    let place = Place::new();
    for args in [
        &["ls"][..],
        &["nodes"],
        &["run", "-r", "bash", "-c", "true"],
        &["doctor"],
    ] {
        let named = [args, &["--server", "unix:/tmp/vulcan-nowhere"]].concat();
        let end = place.run(&named).await.with(3);
        assert!(
            end.stderr
                .contains("no server answers at unix:/tmp/vulcan-nowhere"),
            "{}",
            end.stderr
        );
        assert!(
            end.stderr.contains("hint: start a server with `vulcan serve`"),
            "{}",
            end.stderr
        );
    }
}

#[tokio::test]
async fn help_lists_the_exit_codes() {
    let place = Place::new();
    let end = place.run(&["run", "--help"]).await.with(0);
    assert!(end.stdout.contains(vulcan::EXIT_CODES), "{}", end.stdout);
    let version = place.run(&["--version"]).await.with(0);
    assert_eq!(
        version.stdout,
        concat!("vulcan ", env!("CARGO_PKG_VERSION"), "\n")
    );
}
