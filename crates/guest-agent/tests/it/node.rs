//! Claims about JavaScript programs.

use serde_json::json;
use vulcan_guest_protocol::{ExitStatus, GuestRuntime, ProgramMode};

use crate::guest::{Answer, Guest, Run};

fn node(code: &str) -> Run {
    Run::file(GuestRuntime::Node, "main.js", code)
}

fn run(run: &Run) -> Answer {
    Guest::start().run(run)
}

#[test]
fn a_handler_of_either_module_kind_gives_its_result() {
    for (name, code) in [
        (
            "main.js",
            "export default (input, context) => ({ sum: input.a + 1 });",
        ),
        (
            "main.js",
            "const f = async (input) => ({ sum: input.a + 1 });\nexport { f as default };",
        ),
        (
            "main.mjs",
            "export default async function (input) { return { sum: input.a + 1 }; }",
        ),
        ("main.js", "module.exports = (input) => ({ sum: input.a + 1 });"),
        (
            "main.cjs",
            "module.exports = async (input) => ({ sum: input.a + 1 });",
        ),
        ("main.js", "exports.default = (input) => ({ sum: input.a + 1 });"),
        (
            "main.js",
            "import os from 'node:os';\nawait null;\nexport default (i) => ({ sum: i.a + os.EOL.length });",
        ),
        (
            "main.js",
            "const require = 1;\nexport default (input) => ({ sum: input.a + require });",
        ),
    ] {
        let answer = run(&Run::file(GuestRuntime::Node, name, code).input(r#"{"a": 2}"#));
        assert_eq!(answer.result(), json!({"sum": 3}), "{code}");
        assert_eq!(answer.exited().mode, ProgramMode::Handler, "{code}");
        assert_eq!(answer.stderr(), "", "{code}");
    }
}

#[test]
fn the_context_tells_the_workload_and_its_time() {
    let code = "export default (input, context) =>
        [context.workloadId, context.timeoutMs, context.remainingMs() > 0 && context.remainingMs() <= 30000];";
    assert_eq!(run(&node(code)).result(), json!(["wl_test", 30_000, true]));
}

#[test]
fn undefined_is_null() {
    assert_eq!(run(&node("module.exports = () => {};")).result(), json!(null));
}

#[test]
fn a_script_has_its_arguments_its_input_and_its_exit_code() {
    let code = "
        const input = JSON.parse(require('fs').readFileSync(0, 'utf8'));
        console.log(process.argv.slice(2), input.n, require.main === module, typeof BEGUN);
        process.exit(3);";
    let answer = run(&node(code).input(r#"{"n": 5}"#).args(&["-x", "two words"]));

    assert_eq!(answer.stdout(), "[ '-x', 'two words' ] 5 true undefined\n");
    assert_eq!(answer.exited().status, ExitStatus::Code(3));
    assert_eq!(answer.exited().mode, ProgramMode::Script);
    assert_eq!(answer.exited().error, None);
}

#[test]
fn a_script_runs_until_nothing_is_left_to_do() {
    for code in [
        "setTimeout(() => console.log('late'), 20);",
        "import { setTimeout } from 'node:timers/promises';\nawait setTimeout(20);\nconsole.log('late');",
        "process.stdin.on('data', () => {}).on('end', () => console.log('late'));",
    ] {
        let answer = run(&node(code));
        assert_eq!(answer.stdout(), "late\n", "{code}");
        assert_eq!(answer.exited().status, ExitStatus::Code(0), "{code}");
    }
}

#[test]
fn an_exception_has_the_users_own_frames_and_lines() {
    for code in [
        "module.exports = (input) => {\n  return divide(input);\n};\nfunction divide(by) {\n  return by.x.y;\n}\n",
        "export default async (input) => {\n  return divide(input);\n};\nfunction divide(by) {\n  return by.x.y;\n}\n",
    ] {
        let answer = run(&node(code).input("0"));
        let (kind, message, stack) = answer.error();
        assert_eq!(
            (kind, message),
            (
                "exception",
                "TypeError: Cannot read properties of undefined (reading 'y')"
            )
        );
        assert!(stack.contains("/main.js:5:"), "{stack}");
        assert!(stack.contains("/main.js:2:"), "{stack}");
        assert_eq!(stack.matches("\n    at ").count(), 2, "{stack}");
        assert!(answer.stderr().contains(stack));
        assert_eq!(answer.exited().status, ExitStatus::Code(1));
    }
}

#[test]
fn whatever_is_thrown_is_reported() {
    for (code, expected) in [
        ("module.exports = () => { throw 42; }", "Uncaught 42"),
        ("module.exports = () => Promise.reject('why')", "Uncaught 'why'"),
        ("module.exports = () => { throw null; }", "Uncaught null"),
        ("throw new RangeError('top')", "RangeError: top"),
        ("await null;\nthrow new RangeError('top')", "RangeError: top"),
        (
            "setTimeout(() => { throw new Error('later'); }, 1)",
            "Error: later",
        ),
        ("Promise.reject(new Error('unhandled'))", "Error: unhandled"),
        (
            "module.exports = () => new Promise((_, r) => setTimeout(() => r(new Error('x')), 1))",
            "Error: x",
        ),
        (
            "module.exports = () => new Promise(() => {})",
            "Error: the handler waits for something that never happens",
        ),
        ("require('nothing')", "Error: Cannot find module 'nothing'"),
    ] {
        let answer = run(&node(code));
        let (kind, message, _) = answer.error();
        assert_eq!(kind, "exception", "{code}");
        assert!(message.starts_with(expected), "{code}: {message}");
        assert_eq!(answer.exited().status, ExitStatus::Code(1), "{code}");
        assert!(!answer.stderr().is_empty(), "{code}");
    }
}

#[test]
fn a_syntax_error_is_told_in_the_interpreters_words() {
    for code in ["let a = 1;\nlet b = ;\n", "export default () => 1;\nlet b = ;\n"] {
        let answer = run(&node(code));
        let (kind, message, stack) = answer.error();
        assert_eq!(
            (kind, message),
            ("exception", "SyntaxError: Unexpected token ';' (main.js:2)"),
            "{stack}"
        );
        assert!(stack.contains("let b = ;"), "{stack}");
    }
}

#[test]
fn a_result_without_a_json_form_is_invalid() {
    for (value, named) in [
        ("10n", "BigInt"),
        ("(() => { const a = {}; a.a = a; return a; })()", "circular"),
        ("() => 1", "function"),
        ("Symbol('s')", "symbol"),
    ] {
        let answer = run(&node(&format!("module.exports = () => ({value});")));
        let (kind, message, _) = answer.error();
        assert_eq!(kind, "output_invalid", "{value}");
        assert!(message.contains(named), "{message}");
        assert!(answer.output.is_empty());
    }
}

#[test]
fn a_handler_that_returned_is_not_waited_for() {
    let code = "module.exports = () => { setInterval(() => {}, 1000); return 1; }";
    assert_eq!(run(&node(code)).result(), json!(1));
}

#[test]
fn exit_in_a_handler_ends_the_program_without_a_result() {
    let answer = run(&node("module.exports = () => process.exit(4)"));
    assert_eq!(answer.exited().status, ExitStatus::Code(4));
    assert_eq!(answer.exited().mode, ProgramMode::Handler);
    assert_eq!(answer.exited().error, None);
}

#[test]
fn package_json_says_what_the_files_of_an_archive_are() {
    let module = [
        ("package.json", r#"{"type": "module"}"#),
        (
            "src/main.js",
            "import { two } from './two.js';\nexport default () => two;",
        ),
        ("src/two.js", "export const two = 2;"),
    ];
    let common = [
        ("package.json", r#"{"type": "commonjs"}"#),
        (
            "src/main.js",
            "const { two } = require('./two');\nmodule.exports = () => two;",
        ),
        ("src/two.js", "exports.two = 2;"),
    ];
    let silent = [
        ("package.json", "{}"),
        (
            "src/main.js",
            "import { two } from './two.js';\nexport default () => two;",
        ),
        ("src/two.js", "export const two = 2;"),
    ];
    for files in [module, common, silent] {
        let answer = run(&Run::archive(GuestRuntime::Node, "src/main.js", &files));
        assert_eq!(answer.result(), json!(2), "{files:?}");
    }
}

#[test]
fn a_result_beyond_the_cap_ends_the_program() {
    let code = "module.exports = () => 'x'.repeat(50_000_000)";
    assert_eq!(
        run(&node(code).output_bytes_max(1000)).error().0,
        "output_too_large"
    );
}

#[test]
fn a_large_input_and_a_large_result_arrive_whole() {
    let input = serde_json::to_string(&"ä".repeat(1_000_000)).unwrap();
    let answer = run(&node("module.exports = (input) => 'y'.repeat(input.length)")
        .input(input)
        .output_bytes_max(2_000_000));
    assert_eq!(answer.output.len(), 1_000_002);
}

#[test]
fn a_long_log_of_a_handler_is_complete() {
    for (end, mode) in [("return 1", "result"), ("throw new Error('x')", "exception")] {
        let code = format!("export default () => {{ process.stdout.write('y'.repeat(3_000_000)); {end}; }};");
        let answer = Guest::start().run(&Run::file(GuestRuntime::Node, "main.js", code));
        assert_eq!(answer.stdout.len(), 3_000_000, "{mode}");
    }
}
