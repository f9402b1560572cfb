//! Claims about TypeScript programs. Node.js must be able to strip types, or esbuild must be installed.

use serde_json::json;
use vulcan_guest_protocol::{GuestRuntime, ProgramMode};

use crate::guest::{Answer, Guest, Run};

fn typescript(code: &str) -> Run {
    Run::file(GuestRuntime::Typescript, "main.ts", code)
}

fn run(run: &Run) -> Answer {
    Guest::start().run(run)
}

#[test]
fn a_handler_gives_its_result() {
    let code = "
        interface Input { a: number }
        enum Unit { One = 1 }
        export default async (input: Input, context: { workloadId: string }): Promise<object> =>
            ({ sum: input.a + Unit.One, id: context.workloadId satisfies string });";
    let answer = run(&typescript(code).input(r#"{"a": 2}"#));
    assert_eq!(answer.result(), json!({"sum": 3, "id": "wl_test"}));
    assert_eq!(answer.exited().mode, ProgramMode::Handler);
    assert_eq!(answer.stderr(), "");
}

#[test]
fn a_script_has_its_input() {
    let code = "import { readFileSync } from 'node:fs';\nconst n: number = JSON.parse(readFileSync(0, 'utf8'));\nconsole.log(n + 1, process.argv.slice(2));";
    let answer = run(&typescript(code).input("4").args(&["x"]));
    assert_eq!(answer.stdout(), "5 [ 'x' ]\n");
    assert_eq!(answer.exited().error, None);
}

#[test]
fn lines_of_an_exception_are_those_of_the_users_file() {
    let code = "interface A {\n  x: number;\n}\n\nexport default (input: A): number => {\n  throw new Error(`no ${input}`);\n};\n";
    let answer = run(&typescript(code));
    let (_, message, stack) = answer.error();
    assert_eq!(message, "Error: no null");
    assert!(stack.contains("/main.ts:6:9"), "{stack}");
    assert!(!stack.contains(".mjs"), "{stack}");
}

#[test]
fn a_syntax_error_names_its_line() {
    let answer = run(&typescript("const a: number = 1;\nconst b: = 2;\n"));
    let (kind, message, _) = answer.error();
    assert_eq!(kind, "exception");
    assert!(message.starts_with("SyntaxError: "), "{message}");
    assert!(message.contains("main.ts:2"), "{message}");
}

#[test]
fn files_import_each_other() {
    let files = [
        (
            "src/main.ts",
            "import { two } from './lib/two.ts';\nimport three from './three';\nexport default (): number => two + three;",
        ),
        ("src/lib/two.ts", "export const two: number = 2;"),
        ("src/three.ts", "const three: number = 3;\nexport default three;"),
    ];
    let answer = run(&Run::archive(GuestRuntime::Typescript, "src/main.ts", &files));
    assert_eq!(answer.result(), json!(5));
}

#[test]
fn the_older_module_system_works_too() {
    let code =
        "const os = require('node:os');\nmodule.exports = (input: number): number => input + os.EOL.length;";
    assert_eq!(run(&typescript(code).input("1")).result(), json!(2));
}
