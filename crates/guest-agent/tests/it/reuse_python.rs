//! Claims about Python interpreters that are started ahead, and handlers that stay.

use serde_json::json;
use vulcan_guest_protocol::{
    ExitStatus, GuestFrame, GuestRuntime, HostFrame, InvokeMode, Prepare, ProgramMode, RefusalCode,
    SignalRequest,
};

use crate::guest::{Answer, Guest, Run};

fn python(code: &str) -> Run {
    Run::file(GuestRuntime::Python, "main.py", code)
}

fn prepare(guest: &mut Guest) {
    guest.prepare(GuestRuntime::Python);
}

/// Loads code with a first call, which gives `null`.
fn loaded(mode: InvokeMode, code: &str) -> (Guest, Answer) {
    let mut guest = Guest::start();
    let answer = guest.run(&python(code).mode(mode));
    (guest, answer)
}

const BOTH: [InvokeMode; 2] = [InvokeMode::Warm, InvokeMode::Forked];

#[test]
fn a_prepared_interpreter_looks_like_a_fresh_one() {
    let code = "
import os, sys, signal, resource
def fds():
    return sorted(int(fd) for fd in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + fd))
def look():
    return {
        'argv': sys.argv, 'orig_argv': sys.orig_argv, 'path': sys.path, 'modules': sorted(sys.modules), 'fds': fds(),
        'environ': dict(os.environ), 'cwd': os.getcwd(), 'flags': list(sys.flags), 'main': sorted(vars(sys.modules['__main__'])),
        'signals': [str(signal.getsignal(n)) for n in range(1, 65) if n not in (32, 33)],
        'session': os.getsid(0) == os.getpid(), 'bytecode': sys.dont_write_bytecode, 'std': sys.stdout.encoding,
        'buffered': sys.stdout.line_buffering, 'depth': sys.getrecursionlimit(), 'limits': resource.getrlimit(7),
    }
";
    for (end, code) in [
        (
            "script",
            format!("{code}\nimport json\nprint(json.dumps([look(), __name__, __file__, sys.stdin.read()]))"),
        ),
        (
            "handler",
            format!("{code}\ndef handler(input):\n    return [look(), __name__, __file__, input]"),
        ),
    ] {
        let looks = [false, true].map(|is_prepared| {
            let mut guest = Guest::start();
            if is_prepared {
                prepare(&mut guest);
            }
            let run = python(&code)
                .input("[1]")
                .args(&["a", "b c", ""])
                .env("KEY", "välue");
            let answer = guest.run(&run);
            assert_eq!(answer.exited().status, ExitStatus::Code(0), "{}", answer.stderr());
            let said = [
                answer.stdout(),
                String::from_utf8_lossy(&answer.output).into_owned(),
            ]
            .concat();
            said.replace(&guest.work().display().to_string(), "/work")
                .replace(&guest.work().parent().unwrap().display().to_string(), "/")
        });
        assert_eq!(looks[0], looks[1], "{end}");
    }
}

#[test]
fn a_prepared_interpreter_is_taken_by_the_next_program() {
    let mut guest = Guest::start();
    prepare(&mut guest);
    let prepared = guest.children();
    let answer = guest.run(&python("import os\ndef handler(): return os.getpid()"));
    assert_eq!(answer.result(), json!(prepared[0]));
}

#[test]
fn a_program_that_needs_a_fresh_interpreter_gets_one() {
    let mut guest = Guest::start();
    prepare(&mut guest);
    let prepared = guest.children();
    let code = "import os, sys\ndef handler(): return [os.getpid(), sys.flags.optimize]";
    let answer = guest.run(&python(code).env("PYTHONOPTIMIZE", "2"));
    let result = answer.result();
    assert_eq!(result[1], json!(2));
    assert_ne!(result[0], json!(prepared[0]));
    guest.wait_for_children(0);
}

#[test]
fn a_prepared_interpreter_that_is_dead_is_replaced() {
    for is_noticed in [true, false] {
        let mut guest = Guest::start();
        prepare(&mut guest);
        let prepared = guest.children()[0];
        guest.kill_children();
        if is_noticed {
            guest.wait_for_children(0);
        }
        crate::guest::wait_until_gone(prepared.into());
        assert_eq!(guest.run(&python("def handler(): return 1")).result(), json!(1));
    }
}

#[test]
fn another_runtimes_program_leaves_nothing_prepared() {
    let mut guest = Guest::start();
    prepare(&mut guest);
    let run = Run::file(GuestRuntime::Bash, "main.sh", "echo hi");
    assert_eq!(guest.run(&run).stdout(), "hi\n");
    assert_eq!(guest.run(&python("def handler(): return 1")).result(), json!(1));
}

#[test]
fn a_second_preparation_of_the_same_is_done_already() {
    let mut guest = Guest::start();
    prepare(&mut guest);
    let first = guest.children();
    prepare(&mut guest);
    assert_eq!(guest.children(), first);
}

#[test]
fn what_has_no_interpreter_is_not_prepared() {
    for runtime in [GuestRuntime::Bash, GuestRuntime::Binary, GuestRuntime::GoBuild] {
        let mut guest = Guest::start();
        guest.send(1, &HostFrame::Prepare(Prepare { runtime }));
        let answer = guest.finish(1);
        assert_eq!(answer.refusal.unwrap().code, RefusalCode::Invalid);
    }
}

#[test]
fn failures_in_a_prepared_interpreter_are_those_of_a_fresh_one() {
    for code in [
        "import sys\nsys.exit(3)",
        "import os\nos._exit(4)",
        "import os\nos.kill(os.getpid(), 9)",
        "1/0",
        "def f(:",
        "def handler(): raise KeyError('x')",
        "def handler(): return {1, 2}",
        "import sys\ndef handler(): sys.exit(5)",
        "import sys\nprint('out'); print('err', file=sys.stderr)\nsys.exit('bye')",
    ] {
        let ends = [false, true].map(|is_prepared| {
            let mut guest = Guest::start();
            if is_prepared {
                prepare(&mut guest);
            }
            let answer = guest.run(&python(code));
            let work = guest.work().display().to_string();
            let exited = format!("{:?}", answer.exited()).replace(&work, "/work");
            (exited, answer.stdout(), answer.stderr().replace(&work, "/work"))
        });
        assert_eq!(ends[0], ends[1], "{code}");
    }
}

#[test]
fn a_warm_handler_keeps_what_it_knows() {
    let code = "
import os
print('loading')
calls = 0
def handler(input, context):
    global calls
    calls += 1
    print('call', calls)
    return [calls, input, context.workload_id, context.timeout_ms, context.remaining_ms() <= context.timeout_ms, os.getpid()]
";
    let (mut guest, first) = loaded(InvokeMode::Warm, code);
    let pid = first.result()[5].clone();
    assert_eq!(first.result(), json!([1, null, "wl_test", 30_000, true, pid]));
    assert_eq!(first.stdout(), "loading\ncall 1\n");
    assert_eq!(
        (first.exited().reusable, first.exited().mode),
        (1, ProgramMode::Handler)
    );
    for number in 2..10 {
        let answer = guest.call(InvokeMode::Warm, &json!([number]).to_string());
        assert_eq!(
            answer.result(),
            json!([number, [number], "wl_call", 5000, true, pid])
        );
        assert_eq!(answer.stdout(), format!("call {number}\n"));
        assert_eq!(
            (answer.exited().reusable, answer.exited().mode),
            (1, ProgramMode::Handler)
        );
    }
}

#[test]
fn a_forked_call_knows_nothing_of_the_one_before() {
    let code = "
import os, random, sys
print('loading')
calls = 0
loader = os.getpid()
def handler(input, context):
    global calls
    calls += 1
    print('call', calls)
    return [calls, input, context.workload_id, os.getppid() == loader, os.getsid(0) == os.getpid(), sys.stdin.read(),
            random.random(), os.getpid(), sorted(int(fd) for fd in os.listdir('/proc/self/fd'))[:4], os.path.exists('/proc/self/fd/4')]
";
    let (mut guest, first) = loaded(InvokeMode::Forked, code);
    assert_eq!(first.stdout(), "loading\ncall 1\n");
    let mut seen = vec![first.result()];
    for number in 2..6 {
        let answer = guest.call(InvokeMode::Forked, &number.to_string());
        assert_eq!(answer.stdout(), "call 1\n");
        assert_eq!(answer.exited().reusable, 1);
        let result = answer.result();
        assert_eq!(
            result.as_array().unwrap()[..6],
            json!([1, number, "wl_call", true, true, ""]).as_array().unwrap()[..]
        );
        assert_eq!(result[8], json!([0, 1, 2, 3]));
        seen.push(result);
    }
    for (index, one) in seen.iter().enumerate() {
        for other in &seen[..index] {
            assert_ne!(one[6], other[6], "random numbers repeat");
            assert_ne!(one[7], other[7], "process ids repeat");
        }
    }
}

#[test]
fn forks_leave_no_zombies() {
    let (mut guest, first) = loaded(
        InvokeMode::Forked,
        "import os\ndef handler(): return os.getppid()",
    );
    assert!(first.result().is_number());
    for _ in 0..5 {
        guest.call(InvokeMode::Forked, "null").result();
    }
    let zygote = guest.children()[0];
    assert!(crate::guest::children_of(zygote).is_empty());
}

#[test]
fn an_exception_leaves_the_handler_loaded() {
    for mode in BOTH {
        let code = "import sys\ndef handler(input):\n    print('said')\n    print('err', file=sys.stderr)\n    return 1 / input\n";
        let (mut guest, first) = loaded(mode, code);
        assert_eq!(first.exited().reusable, 1);
        for _ in 0..2 {
            let answer = guest.call(mode, "0");
            let (kind, message, stack) = answer.error();
            assert_eq!(
                (kind, message),
                ("exception", "ZeroDivisionError: division by zero")
            );
            assert!(stack.contains("main.py\", line 5, in handler"), "{stack}");
            assert!(!stack.contains("<vulcan>"), "{stack}");
            assert_eq!(
                (answer.exited().status, answer.exited().reusable),
                (ExitStatus::Code(1), 1)
            );
            assert_eq!(answer.stdout(), "said\n");
            assert!(
                answer.stderr().starts_with("err\nTraceback"),
                "{}",
                answer.stderr()
            );
            assert_eq!(guest.call(mode, "2").result(), json!(0.5));
        }
    }
}

#[test]
fn a_result_that_cannot_be_sent_leaves_the_handler_loaded() {
    for mode in BOTH {
        let (mut guest, first) = loaded(mode, "def handler(input): return {1} if input else 0");
        assert_eq!(first.result(), json!(0));
        let answer = guest.call(mode, "1");
        assert_eq!(
            (answer.error().0, answer.exited().reusable),
            ("output_invalid", 1)
        );
        assert_eq!(guest.call(mode, "0").result(), json!(0));
    }
}

#[test]
fn a_result_beyond_the_limit_leaves_the_handler_loaded() {
    for mode in BOTH {
        let (mut guest, first) = loaded(mode, "def handler(input): return 'x' * (input or 0)");
        assert_eq!(first.result(), json!(""));
        let answer = guest.call(mode, "3000000");
        assert_eq!(
            (answer.error().0, answer.exited().reusable),
            ("output_too_large", 1)
        );
        assert_eq!(answer.exited().status, ExitStatus::Code(1));
        assert_eq!(
            guest.call(mode, "900000").result().as_str().unwrap().len(),
            900_000
        );
        assert_eq!(guest.call(mode, "3").result(), json!("xxx"));
    }
}

#[test]
fn large_inputs_and_logs_belong_to_their_calls() {
    for mode in BOTH {
        let code = "import sys\ndef handler(input):\n    print('y' * len(input or ''))\n    sys.stderr.write('z' * 100_000)\n    return len(input or '')\n";
        let (mut guest, _) = loaded(mode, code);
        for length in [5_000_000, 0, 70_000] {
            let answer = guest.call(mode, &json!("i".repeat(length)).to_string());
            assert_eq!(answer.result(), json!(length));
            assert_eq!((answer.stdout.len(), answer.stderr.len()), (length + 1, 100_000));
        }
    }
}

#[test]
fn a_failed_load_leaves_nothing_loaded() {
    for mode in BOTH {
        for code in [
            "1/0\ndef handler(): return 1",
            "def handler(:",
            "import sys; sys.exit(3)\ndef handler(): pass",
        ] {
            let (mut guest, first) = loaded(mode, code);
            assert_eq!(first.exited().reusable, 0);
            assert_ne!(first.exited().status, ExitStatus::Code(0));
            let answer = guest.call(mode, "1");
            assert_eq!(answer.refusal.unwrap().code, RefusalCode::Invalid);
            // What follows may load something that works.
            assert_eq!(
                guest
                    .run(&python("def handler(): return 1").mode(mode))
                    .exited()
                    .reusable,
                1
            );
        }
    }
}

#[test]
fn a_script_is_run_once_in_every_mode() {
    for mode in BOTH {
        let (_guest, first) = loaded(mode, "import sys\nprint(sys.stdin.read())\nsys.exit(2)");
        assert_eq!(first.stdout(), "null\n");
        assert_eq!(
            (first.exited().status, first.exited().reusable),
            (ExitStatus::Code(2), 0)
        );
        assert_eq!(first.exited().mode, ProgramMode::Script);
    }
}

#[test]
fn exit_ends_a_warm_handler_and_only_the_call_of_a_forked_one() {
    for (code, status) in [
        ("sys.exit(3)", ExitStatus::Code(3)),
        ("sys.exit('bye')", ExitStatus::Code(1)),
        ("os._exit(4)", ExitStatus::Code(4)),
        ("sys.exit()", ExitStatus::Code(0)),
        ("os.kill(os.getpid(), 11)", ExitStatus::Signal(11)),
    ] {
        let code = format!(
            "import os, sys\ndef handler(input):\n    print('a', flush=True)\n    if input: {code}\n    return 1\n"
        );
        for mode in BOTH {
            let (mut guest, _) = loaded(mode, &code);
            let answer = guest.call(mode, "1");
            assert_eq!(answer.exited().status, status, "{code}");
            assert_eq!(answer.exited().mode, ProgramMode::Handler);
            assert_eq!(
                (answer.stdout(), answer.output.len()),
                ("a\n".to_owned(), 0),
                "{code}"
            );
            let is_forked = mode == InvokeMode::Forked;
            assert_eq!(answer.exited().reusable > 0, is_forked, "{code}");
            if is_forked {
                assert_eq!(guest.call(mode, "0").result(), json!(1));
            }
        }
    }
}

#[test]
fn what_a_thread_says_between_calls_goes_to_the_next_log() {
    let code = "
import threading, time, os
go = threading.Event()
def talk():
    go.wait()
    time.sleep(0.05)
    print('between', flush=True)
    os.write(done, b'x')
thread = threading.Thread(target=talk, daemon=True)
thread.start()
waiting, done = os.pipe()
def handler(input):
    if input: os.read(waiting, 1)
    else: go.set()
    print('call', input)
";
    let (mut guest, first) = loaded(InvokeMode::Warm, code);
    assert_eq!(first.stdout(), "call None\n");
    assert_eq!(guest.call(InvokeMode::Warm, "1").stdout(), "between\ncall 1\n");
}

#[test]
fn one_call_runs_at_a_time() {
    let (mut guest, _) = loaded(
        InvokeMode::Warm,
        "import time\ndef handler(input):\n    if input: print('in'); time.sleep(1000)\n",
    );
    guest.begin_call(7, InvokeMode::Warm, "1");
    guest.next_stdout();
    guest.begin_call(8, InvokeMode::Warm, "0");
    assert_eq!(guest.finish(8).refusal.unwrap().code, RefusalCode::Busy);
    guest.begin(9, &python("def handler(): return 1").mode(InvokeMode::Warm));
    assert_eq!(guest.finish(9).refusal.unwrap().code, RefusalCode::Busy);
    guest.send(7, &HostFrame::Signal(SignalRequest { signal: 15 }));
    assert_eq!(guest.finish(7).exited().status, ExitStatus::Signal(15));
}

#[test]
fn a_signal_ends_a_forked_call_and_not_what_it_was_made_from() {
    let (mut guest, _) = loaded(
        InvokeMode::Forked,
        "import time\ndef handler(input):\n    if input: print('in'); time.sleep(1000)\n    return 5\n",
    );
    guest.begin_call(7, InvokeMode::Forked, "1");
    guest.next_stdout();
    guest.send(7, &HostFrame::Signal(SignalRequest { signal: 15 }));
    let answer = guest.finish(7);
    assert_eq!(
        (answer.exited().status, answer.exited().reusable),
        (ExitStatus::Signal(15), 1)
    );
    assert_eq!(guest.call(InvokeMode::Forked, "0").result(), json!(5));
}

#[test]
fn a_handler_of_another_mode_is_not_called() {
    let (mut guest, _) = loaded(InvokeMode::Warm, "def handler(input): return input");
    let answer = guest.call(InvokeMode::Forked, "1");
    assert_eq!(answer.refusal.unwrap().code, RefusalCode::Invalid);
    assert_eq!(guest.call(InvokeMode::Warm, "1").result(), json!(1));
}

#[test]
fn the_end_of_an_idle_handler_ends_the_guest() {
    for mode in BOTH {
        let (mut guest, _) = loaded(mode, "def handler(input): return input");
        guest.kill_children();
        assert!(guest.next_frame().is_none());
        assert!(guest.wait().success());
    }
}

#[test]
fn a_program_that_lies_to_the_agent_harms_only_itself() {
    for lie in [
        "b'garbage'",
        "b'D\\0\\0\\0\\0' * 3",
        "b'B\\xff\\xff\\xff\\xff' + b'x' * 100",
        "b'P\\0\\0\\0\\0'",
    ] {
        let code =
            format!("import os\ndef handler(input):\n    if input: os.write(4, {lie})\n    return input\n");
        let (mut guest, _) = loaded(InvokeMode::Warm, &code);
        guest.begin_call(3, InvokeMode::Warm, "1");
        if lie.contains("xff") {
            // It announced bytes that never come; the host stops it at the deadline.
            guest.send(3, &HostFrame::Signal(SignalRequest { signal: 9 }));
        }
        let answer = guest.finish(3);
        assert!(answer.exited.is_some());
        // The agent serves on.
        let sane = Run::file(GuestRuntime::Bash, "main.sh", "echo hi").mode(InvokeMode::Beside);
        guest.begin(50, &sane);
        assert_eq!(guest.finish(50).stdout(), "hi\n");
    }
}

#[test]
fn what_a_forked_call_leaves_in_its_group_is_killed() {
    let code = "
import os, subprocess
def handler(input):
    child = subprocess.Popen(['/bin/sleep', '1000'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return child.pid
";
    let (mut guest, first) = loaded(InvokeMode::Forked, code);
    let second = guest.call(InvokeMode::Forked, "null");
    for answer in [first, second] {
        crate::guest::wait_until_gone(answer.result().as_i64().unwrap());
    }
}

#[test]
fn a_prepared_interpreter_can_stay() {
    for mode in BOTH {
        let mut guest = Guest::start();
        prepare(&mut guest);
        let prepared = guest.children();
        let code = "import os\nloader = os.getpid()\ndef handler(input): return [loader, os.environ['KEY']]";
        let answer = guest.run(&python(code).mode(mode).env("KEY", "value"));
        assert_eq!(answer.result(), json!([prepared[0], "value"]));
        assert_eq!(guest.call(mode, "1").result(), json!([prepared[0], "value"]));
        guest.send(
            90,
            &HostFrame::Prepare(Prepare {
                runtime: GuestRuntime::Python,
            }),
        );
        assert_eq!(guest.finish(90).refusal.unwrap().code, RefusalCode::Busy);
    }
}

#[test]
fn a_call_says_first_that_it_runs() {
    let (mut guest, _) = loaded(InvokeMode::Warm, "def handler(input): return input");
    guest.begin_call(3, InvokeMode::Warm, "1");
    assert_eq!(guest.next_frame().unwrap(), (3, GuestFrame::Started));
    assert_eq!(
        guest.next_frame().unwrap(),
        (3, GuestFrame::Output(b"1".to_vec()))
    );
    assert!(matches!(guest.next_frame().unwrap(), (3, GuestFrame::Exited(_))));
}
