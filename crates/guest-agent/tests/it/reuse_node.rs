//! Claims about Node interpreters that are started ahead, and handlers that stay.

use serde_json::json;
use vulcan_guest_protocol::{ExitStatus, GuestRuntime, InvokeMode, ProgramMode, RefusalCode};

use crate::guest::{Answer, Guest, Run};

fn node(code: &str) -> Run {
    Run::file(GuestRuntime::Node, "main.js", code)
}

fn loaded(code: &str) -> (Guest, Answer) {
    let mut guest = Guest::start();
    let answer = guest.run(&node(code).mode(InvokeMode::Warm));
    (guest, answer)
}

#[test]
fn a_prepared_interpreter_looks_like_a_fresh_one() {
    let look = "
const fs = require('fs');
const fds = () => fs.readdirSync('/proc/self/fd').map(Number).filter((fd) => fd <= 3 && fs.existsSync(`/proc/self/fd/${fd}`)).sort();
const look = () => ({
  argv: process.argv, execArgv: process.execArgv, env: { ...process.env }, cwd: process.cwd(), fds: fds(), title: process.title,
  globals: Object.getOwnPropertyNames(globalThis).sort(), events: process.eventNames().map(String), main: require.main === module,
  file: __filename, paths: module.paths, cache: Object.keys(require.cache), options: process.env.NODE_OPTIONS ?? null,
});
";
    for (end, code) in [
        ("script", format!("{look}console.log(JSON.stringify([look(), fs.readFileSync(0, 'utf8')]));")),
        ("handler", format!("{look}module.exports = (input) => [look(), input];")),
        (
            "module",
            "import fs from 'node:fs'; export default (input) => [input, process.argv, process.env, import.meta.url];".to_owned(),
        ),
    ] {
        let looks = [false, true].map(|is_prepared| {
            let mut guest = Guest::start();
            if is_prepared {
                guest.prepare(GuestRuntime::Node);
            }
            let run = node(&code).input("[1]").args(&["a", "b c", ""]).env("KEY", "välue=1");
            let answer = guest.run(&run);
            assert_eq!(answer.exited().status, ExitStatus::Code(0), "{}", answer.stderr());
            let said = [answer.stdout(), String::from_utf8_lossy(&answer.output).into_owned()].concat();
            said.replace(&guest.root.path().display().to_string(), "")
        });
        assert_eq!(looks[0], looks[1], "{end}");
    }
}

#[test]
fn a_prepared_interpreter_is_taken_by_the_next_program() {
    for runtime in [GuestRuntime::Node, GuestRuntime::Typescript] {
        let mut guest = Guest::start();
        guest.prepare(GuestRuntime::Node);
        let prepared = guest.children();
        let run = Run::file(runtime, "main.ts", "export default () => process.pid;");
        assert_eq!(guest.run(&run).result(), json!(prepared[0]));
    }
}

#[test]
fn a_program_that_needs_a_fresh_interpreter_gets_one() {
    let mut guest = Guest::start();
    guest.prepare(GuestRuntime::Node);
    let prepared = guest.children();
    let run = node("export default () => [process.pid, process.noDeprecation ?? false];");
    let result = guest.run(&run.env("NODE_OPTIONS", "--no-deprecation")).result();
    assert_eq!(result[1], json!(true));
    assert_ne!(result[0], json!(prepared[0]));
}

#[test]
fn one_interpreter_is_prepared_at_a_time() {
    let mut guest = Guest::start();
    guest.prepare(GuestRuntime::Python);
    guest.prepare(GuestRuntime::Node);
    guest.wait_for_children(1);
    let prepared = guest.children();
    assert_eq!(
        guest.run(&node("export default () => process.pid;")).result(),
        json!(prepared[0])
    );
}

#[test]
fn failures_in_a_prepared_interpreter_are_those_of_a_fresh_one() {
    for code in [
        "process.exit(3)",
        "process.kill(process.pid, 'SIGKILL')",
        "throw new Error('x')",
        "export default (",
        "export default () => { throw new TypeError('x'); };",
        "export default () => () => 1;",
        "export default () => new Promise(() => {});",
        "export default () => { process.exit(5); };",
        "setTimeout(() => { throw new RangeError('late'); }, 1);",
        "Promise.reject(new Error('nobody'));",
        "console.log('out'); console.error('err'); process.exitCode = 7;",
    ] {
        let ends = [false, true].map(|is_prepared| {
            let mut guest = Guest::start();
            if is_prepared {
                guest.prepare(GuestRuntime::Node);
            }
            let answer = guest.run(&node(code));
            let root = guest.root.path().display().to_string();
            let exited = format!("{:?}", answer.exited()).replace(&root, "");
            // The frames of the shim itself, which Node prints for scripts, need not be the same.
            let stderr: Vec<String> = answer
                .stderr()
                .replace(&root, "")
                .lines()
                .filter(|line| !line.contains(".vulcan-shim.cjs"))
                .map(str::to_owned)
                .collect();
            (exited, answer.stdout(), stderr)
        });
        assert_eq!(ends[0], ends[1], "{code}");
    }
}

#[test]
fn a_warm_handler_keeps_what_it_knows() {
    for code in [
        "let calls = 0; console.log('loading'); export default (input, context) => { console.log('call'); return [++calls, input, context.workloadId, context.timeoutMs, process.pid]; };",
        "let calls = 0; console.log('loading'); module.exports = async (input, context) => { await null; console.log('call'); return [++calls, input, context.workloadId, context.timeoutMs, process.pid]; };",
    ] {
        let (mut guest, first) = loaded(code);
        let pid = first.result()[4].clone();
        assert_eq!(first.result(), json!([1, null, "wl_test", 30_000, pid]));
        assert_eq!(first.stdout(), "loading\ncall\n");
        assert_eq!(
            (first.exited().reusable, first.exited().mode),
            (1, ProgramMode::Handler)
        );
        for number in 2..10 {
            let answer = guest.call(InvokeMode::Warm, &json!([number, "ä"]).to_string());
            assert_eq!(
                answer.result(),
                json!([number, [number, "ä"], "wl_call", 5000, pid])
            );
            assert_eq!(answer.stdout(), "call\n");
            assert_eq!(
                (answer.exited().reusable, answer.exited().mode),
                (1, ProgramMode::Handler)
            );
        }
    }
}

#[test]
fn typescript_stays_like_javascript() {
    let mut guest = Guest::start();
    let code = "let calls: number = 0; enum Kind { A = 'a' } export default (input: unknown): string => Kind.A + ++calls;";
    let run = Run::file(GuestRuntime::Typescript, "main.ts", code).mode(InvokeMode::Warm);
    assert_eq!(guest.run(&run).result(), json!("a1"));
    assert_eq!(guest.call(InvokeMode::Warm, "1").result(), json!("a2"));
}

#[test]
fn an_exception_leaves_the_handler_loaded() {
    let code = "export default async (input) => { console.log('said'); if (input) throw new RangeError('no'); return 1; };";
    let (mut guest, _) = loaded(code);
    for _ in 0..2 {
        let answer = guest.call(InvokeMode::Warm, "1");
        let (kind, message, stack) = answer.error();
        assert_eq!((kind, message), ("exception", "RangeError: no"));
        assert!(stack.contains("main.js:1:"), "{stack}");
        assert_eq!(
            (answer.exited().status, answer.exited().reusable),
            (ExitStatus::Code(1), 1)
        );
        assert_eq!(answer.stdout(), "said\n");
        assert!(
            answer.stderr().starts_with("RangeError: no"),
            "{}",
            answer.stderr()
        );
        assert_eq!(guest.call(InvokeMode::Warm, "0").result(), json!(1));
    }
}

#[test]
fn results_that_cannot_be_sent_leave_the_handler_loaded() {
    let code = "export default (input) => input === 1 ? () => 1 : 'x'.repeat(input ?? 0);";
    let (mut guest, _) = loaded(code);
    assert_eq!(guest.call(InvokeMode::Warm, "1").error().0, "output_invalid");
    let answer = guest.call(InvokeMode::Warm, "3000000");
    assert_eq!(
        (answer.error().0, answer.exited().reusable),
        ("output_too_large", 1)
    );
    let large = guest.call(InvokeMode::Warm, "900000").result();
    assert_eq!(large.as_str().map(str::len), Some(900_000));
    assert_eq!(guest.call(InvokeMode::Warm, "2").result(), json!("xx"));
}

#[test]
fn a_handler_that_waits_for_nothing_fails_and_stays() {
    let code = "export default (input) => input ? new Promise(() => {}) : 1;";
    let (mut guest, _) = loaded(code);
    for _ in 0..2 {
        let answer = guest.call(InvokeMode::Warm, "1");
        assert!(answer.error().1.contains("never happens"), "{:?}", answer.error());
        assert_eq!(answer.exited().reusable, 1);
        assert_eq!(guest.call(InvokeMode::Warm, "0").result(), json!(1));
    }
}

#[test]
fn large_inputs_and_logs_belong_to_their_calls() {
    let code = "export default (input) => { console.log('y'.repeat((input ?? '').length)); process.stderr.write('z'.repeat(100_000)); return (input ?? '').length; };";
    let (mut guest, _) = loaded(code);
    for length in [5_000_000, 0, 70_000] {
        let answer = guest.call(InvokeMode::Warm, &json!("ä".repeat(length)).to_string());
        assert_eq!(answer.result(), json!(length));
        assert_eq!((answer.stdout.len(), answer.stderr.len()), (length + 1, 100_000));
    }
}

#[test]
fn what_ends_the_process_ends_the_handler() {
    for (code, status) in [
        ("process.exit(3)", ExitStatus::Code(3)),
        ("process.exit()", ExitStatus::Code(0)),
        ("process.kill(process.pid, 'SIGKILL')", ExitStatus::Signal(9)),
        (
            "setTimeout(() => { throw new Error('late'); }); return new Promise(() => {})",
            ExitStatus::Code(1),
        ),
        (
            "Promise.reject(new Error('late')); return new Promise((go) => setTimeout(go, 10_000))",
            ExitStatus::Code(1),
        ),
    ] {
        let code = format!("export default (input) => {{ if (input) {{ {code}; }} return 1; }};");
        let (mut guest, _) = loaded(&code);
        let answer = guest.call(InvokeMode::Warm, "1");
        assert_eq!(
            (answer.exited().status, answer.exited().reusable),
            (status, 0),
            "{code}"
        );
        assert_eq!(answer.exited().mode, ProgramMode::Handler, "{code}");
        if code.contains("late") {
            assert_eq!(answer.error().1, "Error: late", "{code}");
        }
    }
}

#[test]
fn timers_run_between_calls_and_their_lines_go_to_the_next_log() {
    let code = "
let done; const gone = new Promise((go) => (done = go));
export default async (input) => {
  if (!input) setTimeout(() => { console.log('between'); done(); }, 20);
  else await gone;
  console.log('call');
};
";
    let (mut guest, first) = loaded(code);
    assert_eq!(first.stdout(), "call\n");
    assert_eq!(guest.call(InvokeMode::Warm, "1").stdout(), "between\ncall\n");
}

#[test]
fn a_failure_between_calls_ends_the_guest() {
    let code = "export default () => { setTimeout(() => { throw new Error('late'); }, 1); };";
    let (mut guest, first) = loaded(code);
    assert_eq!(first.exited().reusable, 1);
    assert!(guest.next_frame().is_none());
    assert!(guest.wait().success());
}

#[test]
fn a_failed_load_leaves_nothing_loaded() {
    for code in [
        "throw new Error('no'); export default () => 1;",
        "export default (",
        "process.exit(3)",
    ] {
        let (mut guest, first) = loaded(code);
        assert_eq!(first.exited().reusable, 0);
        assert_ne!(first.exited().status, ExitStatus::Code(0));
        assert_eq!(
            guest.call(InvokeMode::Warm, "1").refusal.unwrap().code,
            RefusalCode::Invalid
        );
    }
}

#[test]
fn a_script_is_run_once_and_a_fork_of_node_is_none() {
    for mode in [InvokeMode::Warm, InvokeMode::Forked] {
        let mut guest = Guest::start();
        let answer = guest.run(&node("console.log(1); process.exitCode = 4;").mode(mode));
        assert_eq!(answer.stdout(), "1\n");
        assert_eq!(
            (answer.exited().status, answer.exited().reusable),
            (ExitStatus::Code(4), 0)
        );
    }
    let mut guest = Guest::start();
    let answer = guest.run(&node("export default () => 1;").mode(InvokeMode::Forked));
    assert_eq!((answer.result(), answer.exited().reusable), (json!(1), 0));
}

#[test]
fn a_prepared_interpreter_can_stay() {
    let mut guest = Guest::start();
    guest.prepare(GuestRuntime::Node);
    let prepared = guest.children();
    let answer = guest.run(
        &node("export default () => [process.pid, process.env.KEY];")
            .mode(InvokeMode::Warm)
            .env("KEY", "value"),
    );
    assert_eq!(answer.result(), json!([prepared[0], "value"]));
    assert_eq!(
        guest.call(InvokeMode::Warm, "1").result(),
        json!([prepared[0], "value"])
    );
}

#[test]
fn turns_come_in_the_order_of_a_fresh_interpreter() {
    let code = "
setImmediate(() => console.log('immediate'));
Promise.resolve().then(() => console.log('promise'));
process.nextTick(() => console.log('tick'));
console.log('sync', require('fs').readdirSync(process.env.TMPDIR).join());
";
    let logs = [false, true].map(|is_prepared| {
        let mut guest = Guest::start();
        if is_prepared {
            guest.prepare(GuestRuntime::Node);
        }
        guest.run(&node(code)).stdout()
    });
    assert_eq!(logs[0], logs[1]);
}
