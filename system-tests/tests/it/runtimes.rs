//! Every runtime, through the API.

use serde_json::json;
use vulcan_api::{ErrorCode, IsolationClass, StartKind, Status};

use crate::fixture::{Fixture, archive, spec};

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_in_python_answers_with_everything_on_record() {
    let fixture = Fixture::start().await;
    let code =
        "def handler(input, context):\n    print('working')\n    return {'sum': input['a'] + input['b']}\n";

    let workload = fixture
        .run(&spec(
            json!({"runtime": "python", "code": code, "input": {"a": 1, "b": 2}, "labels": {"k": "v"}}),
        ))
        .await;

    assert_eq!(workload.status, Status::Completed, "{:?}", workload.error);
    assert_eq!(workload.output, Some(json!({"sum": 3})));
    assert_eq!(workload.exit_code, Some(0));
    assert_eq!(workload.isolation_used, Some(IsolationClass::Sandbox));
    assert!(
        workload
            .isolation_reason
            .as_ref()
            .is_some_and(|reason| reason.contains("sandbox"))
    );
    assert!(matches!(
        workload.start,
        Some(StartKind::Pooled | StartKind::Cold)
    ));
    assert!(workload.usage.is_some_and(|usage| usage.cpu_ms > 0.0));
    assert!(workload.duration_ms >= workload.run_ms);
    assert_eq!(workload, fixture.client().get(workload.id).await.unwrap());
    assert_eq!(fixture.log(workload.id).await[0].text, "working");
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_typescript_bash_and_go_run() {
    let fixture = Fixture::start().await;
    let programs = [
        (
            "node",
            "export default (input, context) => ({ sum: input.a + 1 })",
            json!({"sum": 2}),
        ),
        (
            "javascript",
            "module.exports = async (input) => [input.a]",
            json!([1]),
        ),
        (
            "typescript",
            "type I = { a: number };\nexport default (input: I): number => input.a * 10",
            json!(10),
        ),
        ("bash", "read -r input; echo \"$input\"", json!({"a": 1})),
        (
            "go",
            "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(40 + 2) }\n",
            json!(42),
        ),
    ];
    for (runtime, code, output) in programs {
        let workload = fixture
            .run(&spec(
                json!({"runtime": runtime, "code": code, "input": {"a": 1}}),
            ))
            .await;
        assert_eq!(workload.output, Some(output), "{runtime}: {:?}", workload.error);
    }
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_runs_from_its_entrypoint_with_its_own_modules() {
    let fixture = Fixture::start().await;
    let files: [(&str, &[u8]); 2] = [
        (
            "app/main.py",
            b"from helper import twice\ndef handler(i, c): return twice(i)\n",
        ),
        ("app/helper.py", b"def twice(x): return 2 * x\n"),
    ];

    let workload = fixture
        .run(&spec(json!({"runtime": "python", "code_archive": archive(&files), "entrypoint": "app/main.py", "input": 21})))
        .await;

    assert_eq!(workload.output, Some(json!(42)), "{:?}", workload.error);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_executable_runs_from_an_archive() {
    let fixture = Fixture::start().await;
    let program = exit_7();
    let files = [("program", program.as_slice())];

    let workload = fixture
        .run(&spec(
            json!({"runtime": "binary", "code_archive": archive(&files), "entrypoint": "program"}),
        ))
        .await;

    assert_eq!(workload.exit_code, Some(7), "{:?}", workload.error);
    assert_eq!(workload.error.map(|error| error.code), Some(ErrorCode::ExitCode));
    fixture.end().await;
}

/// Returns the smallest static executable for x86-64 that ends with 7: an ELF header, one segment, three instructions.
fn exit_7() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    // mov eax, 60; mov edi, 7; syscall
    let code = [0xb8, 60, 0, 0, 0, 0xbf, 7, 0, 0, 0, 0x0f, 0x05];
    let length = HEADERS + code.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for field in [BASE + HEADERS, 64, 0] {
        elf.extend(field.to_le_bytes());
    }
    elf.extend(b"\0\0\0\0\x40\0\x38\0\x01\0\0\0\0\0\0\0");
    // One segment to load, readable and executable.
    elf.extend(b"\x01\0\0\0\x05\0\0\0");
    for field in [0, BASE, BASE, length, length, 0x1000] {
        elf.extend(field.to_le_bytes());
    }
    elf.extend(code);
    elf
}

#[tokio::test(flavor = "multi_thread")]
async fn a_syntax_error_is_the_workload_s_failure_in_the_interpreter_s_words() {
    let fixture = Fixture::start().await;
    for (runtime, code, words) in [
        ("python", "def handler(:\n", "SyntaxError"),
        ("node", "export default (\n", "SyntaxError"),
        ("go", "package main\nfunc main() { undefined() }\n", "undefined"),
    ] {
        let workload = fixture
            .run(&spec(json!({"runtime": runtime, "code": code})))
            .await;
        let error = workload.error.expect("it failed");
        assert_eq!(workload.status, Status::Failed);
        assert!(
            format!("{} {:?}", error.message, error.stack).contains(words),
            "{runtime}: {error:?}"
        );
    }
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_and_environment_reach_the_program() {
    let fixture = Fixture::start().await;
    let code = "import sys, os, json\nprint(json.dumps([sys.argv[1:], os.environ['GREETING']]))\n";
    let body = json!({"runtime": "python", "code": code, "args": ["a b", "ü"], "env": {"GREETING": "hei"}});

    let workload = fixture.run(&spec(body)).await;

    assert_eq!(workload.output, Some(json!([["a b", "ü"], "hei"])));
    fixture.end().await;
}
