//! `vulcan run` without a server: standard output has the output and nothing else.

use serde_json::json;

use crate::place::{Place, ended};

#[tokio::test]
async fn a_handlers_result_is_all_there_is_on_standard_output() {
    let place = Place::new();
    place.file(
        "h.py",
        "def handler(input, context):\n  print('a log line')\n  return {'sum': input['a'] + 1}\n",
    );

    let end = place.embedded(&["h.py", "--input", r#"{"a": 1}"#]).await.with(0);

    assert_eq!(end.stdout, "{\n  \"sum\": 2\n}\n");
    assert_eq!(end.stderr, "a log line\n");
    assert!(place.leftovers().is_empty(), "{:?}", place.leftovers());
}

#[tokio::test]
async fn a_text_is_printed_as_it_is() {
    let place = Place::new();
    let code = "def handler(input, context): return 'two\\nlines'";
    let end = place
        .embedded(&["--runtime", "python", "--code", code])
        .await
        .with(0);
    assert_eq!(end.stdout, "two\nlines\n");
}

#[tokio::test]
async fn what_a_script_prints_is_its_output_and_comes_once() {
    let place = Place::new();
    place.file(
        "s.py",
        "import sys\nprint('{\"a\": 1}')\nprint('aside', file=sys.stderr)",
    );

    let end = place.embedded(&["s.py"]).await.with(0);

    assert_eq!(end.stdout, "{\"a\": 1}\n");
    assert_eq!(end.stderr, "aside\n");
}

#[tokio::test]
async fn a_handler_that_was_taken_for_a_script_still_gives_its_result() {
    let place = Place::new();
    let code = "if True:\n  def handler(input, context):\n    print('log')\n    return 7";
    let end = place
        .embedded(&["--runtime", "python", "--code", code])
        .await
        .with(0);
    assert_eq!(end.stdout, "log\n7\n");
}

#[tokio::test]
async fn with_json_the_record_is_all_there_is_on_standard_output() {
    let place = Place::new();
    place.file("s.sh", "echo hello");

    let end = place
        .embedded(&["s.sh", "--json", "--label", "team=a"])
        .await
        .with(0);

    let record: vulcan_api::Workload = serde_json::from_str(&end.stdout).unwrap();
    assert_eq!(record.labels["team"], "a");
    assert_eq!(end.stderr, "hello\n");
}

#[tokio::test]
async fn arguments_environment_and_input_arrive() {
    let place = Place::new();
    place.file("s.sh", "cat; echo; echo \"$1|$2|$GREETING|$PASSED\"");
    place.file("input.json", r#"[1]"#);
    let mut command = place.vulcan(&[
        "run",
        "--embedded",
        "s.sh",
        "-e",
        "GREETING=hi there",
        "-e",
        "PASSED",
        "--input",
        "@input.json",
        "--",
        "a b",
        "--json",
    ]);
    command.env("PASSED", "on");

    let end = ended(command).await.with(0);

    let lines: Vec<&str> = end.stdout.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines, ["[1]", "a b|--json|hi there|on"]);
}

#[tokio::test]
async fn a_folder_runs_its_main_file_with_the_others_beside_it() {
    let place = Place::new();
    place.file("project/main.py", "from lib.words import WORD\nprint(WORD)");
    place.file("project/lib/words.py", "WORD = 'packed'");
    place.file("project/.git/config", "[core]");

    let end = place.embedded(&["--archive", "project"]).await.with(0);

    assert_eq!(end.stdout, "packed\n");
}

#[tokio::test]
async fn two_at_once_do_not_disturb_each_other() {
    let place = Place::new();
    place.file("s.sh", "echo $1");
    let (a, b, c) = tokio::join!(
        place.embedded(&["s.sh", "--", "a"]),
        place.embedded(&["s.sh", "--", "b"]),
        place.embedded(&["s.sh", "--", "c"])
    );
    assert_eq!([a.stdout, b.stdout, c.stdout], ["a\n", "b\n", "c\n"]);
    assert!(place.leftovers().is_empty(), "{:?}", place.leftovers());
}

#[tokio::test]
async fn doctor_looks_at_this_machine_without_a_server() {
    let place = Place::new();

    let end = place.run(&["doctor", "--embedded", "--json"]).await;

    let list: vulcan_api::BackendList = serde_json::from_str(&end.stdout).unwrap();
    let is_fit = list.backends.iter().all(|backend| backend.readiness.is_usable());
    assert_eq!(end.code, Some(i32::from(!is_fit)));
    assert_eq!(json!(list.backends[0].isolation), json!("sandbox"));
}
