//! JavaScript and TypeScript in isolates, through the API: what a user sees of them.

use serde_json::{Value, json};
use vulcan_api::{ErrorCode, IsolationClass, Status, Workload, WorkloadError};

use crate::fixture::{Fixture, archive, spec};

async fn run(fixture: &Fixture, runtime: &str, code: &str, more: Value) -> Workload {
    let mut body = json!({"runtime": runtime, "isolation": "isolate", "code": code});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().cloned().unwrap_or_default());
    fixture.run(&spec(body)).await
}

fn error(workload: Workload) -> WorkloadError {
    assert_eq!(workload.status, Status::Failed);
    workload.error.expect("what failed says why")
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_gives_javascript_and_typescript_an_isolate_and_says_why() {
    let fixture = Fixture::start().await;
    for (runtime, code, words) in [
        (
            "node",
            "export default (input) => input.a + 1",
            "JavaScript source",
        ),
        (
            "typescript",
            "type I = { a: number };\nexport default async (input: I): Promise<number> => input.a + 1",
            "TypeScript source",
        ),
    ] {
        let body = json!({"runtime": runtime, "code": code, "input": {"a": 1}});

        let workload = fixture.run(&spec(body)).await;

        assert_eq!(workload.output, Some(json!(2)), "{:?}", workload.error);
        assert_eq!(workload.isolation_used, Some(IsolationClass::Isolate));
        let reason = workload.isolation_reason.unwrap();
        assert!(reason.contains(words), "{reason}");
    }
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn web_apis_are_there_and_the_console_is_the_log() {
    let fixture = Fixture::start().await;
    let code = "export default async () => {
        console.log('to the log');
        console.error('and here');
        const bytes = new TextEncoder().encode('abc');
        const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
        const text = await new Response(new Blob([bytes]).stream()).text();
        await new Promise((resolve) => setTimeout(resolve, 1));
        return { first: digest[0], text, host: new URL('http://a.b/c').host, copy: structuredClone({ x: [1] }) };
    }";

    let workload = run(&fixture, "node", code, json!({})).await;

    let expected = json!({"first": 0xba, "text": "abc", "host": "a.b", "copy": {"x": [1]}});
    assert_eq!(workload.output, Some(expected), "{:?}", workload.error);
    let mut lines: Vec<(String, String)> = fixture
        .log(workload.id)
        .await
        .into_iter()
        .map(|line| (line.stream.as_str().to_owned(), line.text))
        .collect();
    lines.sort();
    let expected = [("stderr", "and here"), ("stdout", "to the log")];
    assert_eq!(
        lines,
        expected.map(|(stream, text)| (stream.to_owned(), text.to_owned()))
    );
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_of_an_archive_import_each_other_and_nothing_else() {
    let fixture = Fixture::start().await;
    let files: [(&str, &[u8]); 2] = [
        (
            "app/main.ts",
            b"import { twice } from './lib/twice.ts';\nexport default (input: number) => twice(input);\n",
        ),
        (
            "app/lib/twice.ts",
            b"export const twice = (x: number): number => 2 * x;\n",
        ),
    ];
    let body = json!({
        "runtime": "typescript", "isolation": "isolate", "code_archive": archive(&files), "entrypoint": "app/main.ts",
        "input": 21
    });
    let workload = fixture.run(&spec(body)).await;
    assert_eq!(workload.output, Some(json!(42)), "{:?}", workload.error);

    for (specifier, named) in [
        ("npm:lodash", "npm:lodash"),
        ("https://example.org/x.js", "https://example.org/x.js"),
        ("lodash", "lodash"),
        ("file:///etc/passwd", "/etc/passwd"),
    ] {
        let code = format!("import x from '{specifier}';\nexport default () => x;");
        let failed = error(run(&fixture, "node", &code, json!({})).await);
        assert!(failed.message.contains(named), "{specifier}: {failed:?}");
    }
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_names_the_line_of_the_users_own_file() {
    let fixture = Fixture::start().await;
    let thrown =
        "type I = number;\nexport default (input: I) => {\n  throw new TypeError('no: ' + input);\n};\n";
    let failed = error(run(&fixture, "typescript", thrown, json!({"input": 7})).await);
    assert_eq!(failed.code, ErrorCode::Exception);
    assert!(failed.message.contains("no: 7"), "{failed:?}");
    let stack = failed.stack.expect("an error has a stack");
    assert!(stack.contains("main.ts:3:"), "{stack}");

    let unparsable = "export default () => {\n  const = 1;\n};\n";
    let failed = error(run(&fixture, "node", unparsable, json!({})).await);
    assert!(
        format!("{} {:?}", failed.message, failed.stack).contains("main.js:2:"),
        "{failed:?}"
    );
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_result_says_so() {
    let fixture = Fixture::start().await;
    let stuck = "export default () => new Promise(() => {});";
    let failed = error(run(&fixture, "node", stuck, json!({})).await);
    assert_eq!(failed.code, ErrorCode::Exception, "{failed:?}");

    for result in ["1n", "() => 1", "(() => { const a = {}; a.a = a; return a; })()"] {
        let code = format!("export default () => {result};");
        let failed = error(run(&fixture, "node", &code, json!({})).await);
        assert_eq!(failed.code, ErrorCode::OutputInvalid, "{result}: {failed:?}");
    }
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_network_is_closed_and_the_error_says_which_setting_opens_it() {
    let fixture = Fixture::start().await;
    let code = "export default async () => (await fetch('http://127.0.0.1:1/')).status;";

    let failed = error(run(&fixture, "node", code, json!({})).await);

    assert!(failed.message.contains("network"), "{failed:?}");
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_ignores_the_clock_is_killed_and_a_neighbour_notices_nothing() {
    let fixture = Fixture::start().await;
    let neighbour = "export default async () => {
        for (let i = 0; i < 20; i++) await new Promise((resolve) => setTimeout(resolve, 10));
        return 'unharmed';
    };";
    let hostile = [
        "while (true) {}",
        "export default () => /^(a+)+$/.test('a'.repeat(64) + 'b');",
        "export default () => { let n = 3n; for (;;) n = n * n; };",
        "export default async () => { for (;;) await null; };",
        "export default () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);",
    ];
    let calm = run(&fixture, "node", neighbour, json!({}));
    let attacks = async {
        for code in hostile {
            let limits = json!({"resources": {"timeout_s": 0.3}});
            let workload = run(&fixture, "node", code, limits).await;
            assert_eq!(workload.status, Status::TimedOut, "{code}: {:?}", workload.error);
        }
    };

    let (calm, ()) = tokio::join!(calm, attacks);

    assert_eq!(calm.output, Some(json!("unharmed")), "{:?}", calm.error);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heap_bomb_is_out_of_memory_on_the_heap_and_beside_it() {
    let fixture = Fixture::start().await;
    for code in [
        "export default () => { const all = []; for (;;) all.push(new Array(1000).fill({})); };",
        "export default () => { const all = []; for (;;) all.push(new Uint8Array(1 << 20).fill(1)); };",
    ] {
        let failed = error(run(&fixture, "node", code, json!({})).await);
        assert_eq!(failed.code, ErrorCode::OutOfMemory, "{code}: {failed:?}");
    }
    fixture.end().await;
}
