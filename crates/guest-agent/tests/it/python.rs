//! Claims about Python programs.

use serde_json::json;
use vulcan_guest_protocol::{ExitStatus, GuestRuntime, ProgramMode};

use crate::guest::{Answer, Guest, Run};

fn python(code: &str) -> Run {
    Run::file(GuestRuntime::Python, "main.py", code)
}

fn run(run: &Run) -> Answer {
    Guest::start().run(run)
}

#[test]
fn a_handler_gets_its_input_and_gives_its_result() {
    let answer = run(&python(
        "def handler(input, context):\n    print('working')\n    return {'sum': input['a'] + input['b'], 'x': [1.5, None, True, 'ü\"\\ud83d\\ude00']}\n",
    )
    .input(r#" {"a": 1, "b": 2} "#));

    assert_eq!(
        answer.result(),
        json!({"sum": 3, "x": [1.5, null, true, "ü\"😀"]})
    );
    assert_eq!(answer.exited().mode, ProgramMode::Handler);
    assert_eq!(answer.exited().status, ExitStatus::Code(0));
    assert_eq!(answer.stdout(), "working\n");
    assert!(answer.is_started);
}
