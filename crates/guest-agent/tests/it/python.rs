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
    let code = "
def handler(input, context):
    print('working')
    return {'sum': input['a'] + input['b'], 'x': [1.5, None, True, 'ü\"\\U0001F600'], 'y': (2**70,)}
";
    let answer = run(&python(code).input(r#" {"a": 1, "b": 2} "#));

    assert_eq!(
        answer.result(),
        json!({"sum": 3, "x": [1.5, null, true, "ü\"😀"], "y": [1180591620717411303424.0]})
    );
    assert_eq!(answer.exited().mode, ProgramMode::Handler);
    assert_eq!(answer.exited().status, ExitStatus::Code(0));
    assert_eq!(answer.stdout(), "working\n");
    assert!(answer.is_started);
}

#[test]
fn every_json_value_goes_through_a_handler_unchanged() {
    let echo = "handler = lambda input, context: input";
    for value in [
        json!(null),
        json!(0),
        json!(-1.25e10),
        json!("\u{0}\u{7f}\"\\é"),
        json!([[], {}, [true, false]]),
        json!({"a": {"b": [1, "2"]}}),
    ] {
        assert_eq!(run(&python(echo).input(value.to_string())).result(), value);
    }
}

#[test]
fn a_handler_may_take_fewer_arguments_and_may_be_any_callable() {
    for handler in [
        "def handler(): return 7",
        "def handler(input): return input",
        "def handler(input, context, *rest): return input",
        "def handler(*args): return args[0]",
        "def handler(input, unit=1): return input",
        "async def handler(input, context): return input",
        "import functools\nhandler = functools.partial(lambda scale, input: input, 1)",
        "class C:\n def __call__(self, input): return input\nhandler = C()",
        "class C:\n def go(self, input): return input\nhandler = C().go",
        "def make():\n return lambda input: input\nhandler = make()",
        "from operator import pos as handler",
        "async def later(input): return input\ndef handler(input): return later(input)",
    ] {
        let answer = run(&python(handler).input("7"));
        assert_eq!(answer.result(), json!(7), "{handler}");
        assert_eq!(answer.exited().mode, ProgramMode::Handler, "{handler}");
    }
}

#[test]
fn the_context_tells_the_workload_and_its_time() {
    let code = "
def handler(input, context):
    left = context.remaining_ms()
    return [context.workload_id, context['timeout_ms'], 0 < left <= 30000, __name__, __file__.endswith('/main.py')]
";
    assert_eq!(
        run(&python(code)).result(),
        json!(["wl_test", 30_000, true, "main", true])
    );
}

#[test]
fn a_guard_for_scripts_does_not_run_in_a_handlers_file() {
    let code = "
def handler(input): return __name__
if __name__ == '__main__':
    print('guarded')
";
    let answer = run(&python(code));
    assert_eq!((answer.result(), answer.stdout().as_str()), (json!("main"), ""));
}

#[test]
fn a_script_has_its_arguments_its_input_and_its_exit_code() {
    let code = "
import sys, json
if __name__ == '__main__':
    print(sys.argv[1:], json.load(sys.stdin)['n'], sorted(k for k in globals() if not k.startswith('__')))
    exit(3)
";
    let answer = run(&python(code).input(r#"{"n": 5}"#).args(&["-x", "two words"]));

    assert_eq!(answer.stdout(), "['-x', 'two words'] 5 ['json', 'sys']\n");
    assert_eq!(answer.exited().status, ExitStatus::Code(3));
    assert_eq!(answer.exited().mode, ProgramMode::Script);
    assert_eq!(answer.exited().error, None);
}

#[test]
fn a_name_that_is_only_used_makes_no_handler() {
    for code in [
        "import logging.handlers as h\nprint(h.__name__)",
        "def f():\n handler = 1\n return handler\nprint(f())",
    ] {
        let answer = run(&python(code));
        assert_eq!(answer.exited().mode, ProgramMode::Script, "{code}");
        assert_eq!(answer.exited().error, None, "{code}");
    }
}

#[test]
fn an_exception_has_the_users_own_frames_and_lines() {
    let code = "def handler(input):\n    return divide(input)\n\ndef divide(by):\n    return 1 / by\n";
    let answer = run(&python(code).input("0"));

    let (kind, message, stack) = answer.error();
    assert_eq!(
        (kind, message),
        ("exception", "ZeroDivisionError: division by zero")
    );
    assert!(
        stack.starts_with("Traceback (most recent call last):\n  File "),
        "{stack}"
    );
    assert!(stack.contains("main.py\", line 2, in handler"), "{stack}");
    assert!(stack.contains("main.py\", line 5, in divide"), "{stack}");
    assert_eq!(stack.matches("File ").count(), 2, "{stack}");
    assert_eq!(answer.stderr(), stack);
    assert_eq!(answer.exited().status, ExitStatus::Code(1));
}

#[test]
fn an_exception_of_an_async_handler_has_only_the_users_frames() {
    let code = "async def handler(input):\n    await other()\nasync def other():\n    raise KeyError('x')\n";
    let answer = run(&python(code));
    let (_, message, stack) = answer.error();
    assert_eq!(message, "KeyError: 'x'");
    assert_eq!(stack.matches("File ").count(), 2, "{stack}");
}

#[test]
fn an_exception_of_a_script_is_reported_too() {
    let answer = run(&python("import sys\nprint('a')\nraise RuntimeError('b')\n"));
    let (_, message, stack) = answer.error();
    assert_eq!(message, "RuntimeError: b");
    assert!(stack.contains("line 3, in <module>"), "{stack}");
    assert_eq!(answer.exited().mode, ProgramMode::Script);
    assert_eq!(answer.stdout(), "a\n");
}

#[test]
fn a_syntax_error_is_told_in_the_interpreters_words() {
    let answer = run(&python("x = 1\ndef f(:\n    pass\n"));
    let (kind, message, stack) = answer.error();
    assert_eq!(
        (kind, message),
        ("exception", "SyntaxError: invalid syntax (main.py, line 2)")
    );
    assert!(
        stack.contains("line 2\n    def f(:\n          ^\nSyntaxError"),
        "{stack}"
    );
    assert_eq!(answer.exited().status, ExitStatus::Code(1));
}

#[test]
fn a_result_without_a_json_form_is_invalid() {
    for (value, named) in [
        ("{1, 2}", "set"),
        ("b'x'", "bytes"),
        ("float('nan')", "Out of range float values"),
        ("{'a': [float('inf')]}", "Out of range float values"),
        ("object()", "object"),
        ("{(1, 2): 3}", "keys must be str"),
        ("loop()", "Circular reference"),
    ] {
        let code = format!("def loop():\n    a = []; a.append(a); return a\ndef handler(): return {value}\n");
        let answer = run(&python(&code));
        let (kind, message, _) = answer.error();
        assert_eq!(kind, "output_invalid", "{value}");
        assert!(message.contains(named), "{message}");
        assert!(answer.output.is_empty());
        assert_eq!(answer.exited().status, ExitStatus::Code(1));
    }
}

#[test]
fn exit_in_a_handler_ends_the_program_without_a_result() {
    let answer = run(&python("import sys\ndef handler(): sys.exit(4)\n"));
    assert_eq!(answer.exited().status, ExitStatus::Code(4));
    assert_eq!(answer.exited().mode, ProgramMode::Handler);
    assert_eq!(answer.exited().error, None);
    assert!(answer.output.is_empty());
}

#[test]
fn modules_beside_the_program_and_of_the_distribution_can_be_imported() {
    let files = [
        (
            "app/main.py",
            "from lib import double\nimport other\ndef handler(input): return double(input) + other.ONE\n",
        ),
        ("app/lib/__init__.py", "def double(x): return 2 * x\n"),
        ("app/other.py", "ONE = 1\n"),
    ];
    let answer = run(&Run::archive(GuestRuntime::Python, "app/main.py", &files).input("4"));
    assert_eq!(answer.result(), json!(9));

    let paths = run(&python("import sys\ndef handler(): return sys.path"));
    assert!(
        paths
            .result()
            .to_string()
            .contains("/usr/lib/python3/dist-packages")
    );
}

#[test]
fn variables_of_the_user_reach_the_program_beside_the_fixed_ones() {
    let code = "import os\ndef handler(): return [os.environ[k] for k in ('A', 'USER', 'LANG', 'PATH')] + [len(os.environ) <= 7]";
    assert_eq!(
        run(&python(code).env("A", "ü")).result(),
        json!(["ü", "vulcan", "C.UTF-8", "/usr/local/bin:/usr/bin:/bin", true])
    );
}

#[test]
fn lines_are_seen_while_the_program_runs() {
    let code = "import sys\nprint('before')\nsys.stdin.readline()\n";
    let mut guest = Guest::start();
    let run = python(code).input("waits");
    let mut held_back = run.invoke.clone();
    held_back.input_bytes = 6;
    guest.send(1, &vulcan_guest_protocol::HostFrame::Invoke(held_back));
    guest.data(1, code.as_bytes());

    assert!(guest.next_stdout().starts_with(b"before"));
    guest.data(1, b"waits\n");
    assert_eq!(guest.finish(1).exited().status, ExitStatus::Code(0));
}

#[test]
fn a_result_beyond_the_cap_ends_the_program() {
    let code = "def handler():\n    return 'x' * 100_000_000\n";
    let answer = run(&python(code).output_bytes_max(1000));
    assert_eq!(answer.error().0, "output_too_large");
    assert!(answer.output.len() <= 1000);
}

#[test]
fn a_large_input_and_a_large_result_arrive_whole() {
    let input = serde_json::to_string(&"ä".repeat(1_000_000)).unwrap();
    let answer = run(&python("def handler(input): return len(input) * 'y'")
        .input(input)
        .output_bytes_max(2_000_000));
    assert_eq!(answer.output.len(), 1_000_002);
}

#[test]
fn the_source_runs_where_the_byte_code_does_not_fit() {
    // The start-up code with a magic number that no interpreter has.
    let source = include_str!("../../runtimes/python/shim.py");
    let rare = include_str!("../../runtimes/python/rare.py");
    let start = include_str!("../../src/runtime.rs")
        .split_once("PYTHON_START: &str = \"\\\n")
        .and_then(|(_, rest)| rest.split_once("\";"))
        .unwrap()
        .0
        .replace("\\\\", "\\");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("main.py");
    std::fs::write(&file, "print('ran')\n").unwrap();
    // Descriptor 3 is only touched by handlers and failures, but marked at the start.
    let output = std::process::Command::new("/bin/sh")
        .args(["-c", "exec 3>/dev/null; exec /usr/bin/python3 -S -c \"$@\"", "sh"])
        .args([&start, "ffff", "", source, rare])
        .arg(&file)
        .args(["wl_test", "1000"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.stdout, b"ran\n");
}

#[test]
fn what_a_handler_wants_done_at_the_end_is_done() {
    let code = "
import atexit, sys, threading, time
def handler():
    atexit.register(lambda: print('at exit'))
    atexit.register(lambda: 1 / 0)
    threading.Thread(target=lambda: (time.sleep(0.05), print('in a thread'))).start()
    sys.stdout.write('no line end ')
    return 1
";
    for is_prepared in [false, true] {
        let mut guest = Guest::start();
        if is_prepared {
            guest.prepare(GuestRuntime::Python);
        }
        let answer = guest.run(&python(code));
        assert_eq!(answer.result(), json!(1));
        assert_eq!(answer.stdout(), "no line end in a thread\nat exit\n");
        assert!(
            answer.stderr().contains("ZeroDivisionError"),
            "{}",
            answer.stderr()
        );
        assert_eq!(answer.exited().status, ExitStatus::Code(0));
    }
}
