//! What is the isolate's own: how programs look, what they return, and how their failures are told.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use vulcan_api::{Code, ErrorCode, Readiness, Resources, Runtime};
use vulcan_backend::{Backend as _, BackendError, ExitStatus, InvokeMode};
use vulcan_backend_isolate::{Isolate, Options};

use crate::{
    archive::tar_gz,
    harness::{Stand, options, program, request, run, run_in},
};

async fn returns(name: &str, code: &str, output: serde_json::Value) {
    let ended = run(program(name, code)).await;
    assert_eq!(ended.output(), &output, "{code}");
}

/// Runs code that must fail with an exception, and returns its words.
async fn exception(name: &str, code: &str) -> String {
    let ended = run(program(name, code)).await;
    let error = ended.outcome.error.as_ref().expect("it fails");
    assert_eq!(error.code, ErrorCode::Exception, "{ended:?}");
    ended.words()
}

#[tokio::test]
async fn javascript_and_typescript_run_and_enums_do() {
    returns("main.js", "export default (i) => [i, 1 + 1]", json!([null, 2])).await;
    let typed = "enum Colour { Red = 3, Blue }\ninterface I { a: number }\n\
                 export default async (i: I | null): Promise<number> => Colour.Blue;";
    returns("main.ts", typed, json!(4)).await;
}

#[tokio::test]
async fn web_interfaces_without_permissions_are_there() {
    let code = "export default async () => {
        const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode('a'));
        const stream = new Blob(['text']).stream().pipeThrough(new CompressionStream('gzip'));
        await new Promise((done) => setTimeout(done, 1));
        return [new URL('/b?c=d', 'https://a').searchParams.get('c'), digest.byteLength, structuredClone({ a: [1] }),
                (await new Response(stream).bytes()).length > 10, crypto.randomUUID().length];
    };";
    returns("main.js", code, json!(["d", 32, {"a": [1]}, true, 36])).await;
}

#[tokio::test]
async fn builtins_of_node_and_commonjs_work() {
    let code = "import { join } from 'node:path'; import { createHash } from 'crypto';\n\
                export default () => [join('a', 'b'), createHash('md5').update('a').digest('hex').length];";
    returns("main.js", code, json!(["a/b", 32])).await;
    let common = "const path = require('path');\nmodule.exports = () => path.basename('/x/y');";
    returns("main.js", common, json!("y")).await;
}

#[tokio::test]
async fn bytes_and_responses_have_a_json_form() {
    returns(
        "main.js",
        "export default () => ({ a: new Uint8Array([255]) })",
        json!({"a": {"$bytes": "/w=="}}),
    )
    .await;
    let response = "export default () => Response.json([1], { status: 201, headers: { 'x-a': 'b' } })";
    let form =
        json!({"status": 201, "headers": {"content-type": "application/json", "x-a": "b"}, "body": [1]});
    returns("main.js", response, form).await;
}

#[tokio::test]
async fn what_has_no_json_form_is_told_with_its_place() {
    let ended = run(program("main.js", "export default () => ({ a: [1, 2n] })")).await;
    let error = ended.outcome.error.as_ref().unwrap();
    assert_eq!(error.code, ErrorCode::OutputInvalid);
    assert!(
        error
            .message
            .contains("a BigInt has no JSON form (at result.a[1])"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_thrown_error_keeps_the_users_own_lines_and_none_of_the_hosts() {
    for (name, code) in [
        (
            "main.js",
            "\nexport default function handler() {\n  inner();\n}\nfunction inner() {\n  throw new TypeError('oh');\n}\n",
        ),
        (
            "main.ts",
            "interface I { a: 1 }\nexport default function handler(i: I) {\n  inner();\n}\nfunction inner(): void {\n  throw new TypeError('oh');\n}\n",
        ),
        (
            "main.ts",
            "enum E { A }\nexport default function handler(i: E) {\n  inner();\n}\nfunction inner(): void {\n  throw new TypeError('oh');\n}\n",
        ),
    ] {
        let words = exception(name, code).await;
        assert!(words.starts_with("TypeError: oh"), "{words}");
        assert!(words.contains(&format!("/work/{name}:6:9")), "{words}");
        assert!(words.contains(&format!("/work/{name}:3:3")), "{words}");
        assert!(!words.contains("vulcan") && !words.contains("ext:"), "{words}");
    }
}

#[tokio::test]
async fn syntax_errors_have_line_and_column() {
    let words = exception("main.js", "export default () => {\n  let x = ;\n}").await;
    assert!(
        words.contains("SyntaxError") && words.contains("main.js:2:11"),
        "{words}"
    );
    let words = exception("main.ts", "export default (): number => {\n  return 1 +;\n}").await;
    assert!(
        words.contains("SyntaxError") && words.contains("main.ts:2:"),
        "{words}"
    );
}

#[tokio::test]
async fn what_never_resolves_is_told_at_once() {
    let words = exception("main.js", "export default () => new Promise(() => {})").await;
    assert!(
        words.contains("never resolves: nothing is left to wait for"),
        "{words}"
    );
    let words = exception("main.js", "await new Promise(() => {}); export default () => 1").await;
    assert!(words.contains("the module never resolves"), "{words}");
}

#[tokio::test]
async fn long_waits_and_work_on_other_threads_are_not_taken_for_idleness() {
    let code = "await new Promise((done) => setTimeout(done, 1200));\n\
                const key = await crypto.subtle.importKey('raw', new Uint8Array(16), 'PBKDF2', false, ['deriveBits']);\n\
                const how = { name: 'PBKDF2', hash: 'SHA-512', salt: new Uint8Array(16), iterations: 1_500_000 };\n\
                await crypto.subtle.deriveBits(how, key, 512);\nexport default () => 'done';";
    returns("main.js", code, json!("done")).await;
}

#[tokio::test]
async fn imports_from_elsewhere_are_refused_by_name() {
    for (specifier, why) in [
        ("npm:chalk", "the network is closed"),
        ("jsr:@std/path", "the network is closed"),
        ("https://example.com/a.js", "the network is closed"),
        ("chalk", "packages are not installed here"),
        ("file:///etc/passwd", "no such file in the program"),
        ("/etc/passwd", "no such file in the program"),
        ("../../etc/passwd", "no such file in the program"),
        ("./missing.js", "no such file in the program"),
        ("file:///opt/vulcan/host/main.js", "no such file in the program"),
        ("data:text/javascript,1", "code comes as files"),
        ("node:worker_threads", "isolates do not offer it"),
    ] {
        for code in [
            format!("import {specifier:?}; export default () => 1"),
            format!("export default () => import({specifier:?})"),
        ] {
            let words = exception("main.js", &code).await;
            assert!(
                words.contains(&format!("'{specifier}' cannot be imported: ")) && words.contains(why),
                "{words}"
            );
        }
    }
}

#[tokio::test]
async fn the_network_is_closed_with_a_word_for_it() {
    for code in [
        "await fetch('https://example.com')",
        "new WebSocket('wss://example.com')",
        "await Deno.connect({ hostname: '127.0.0.1', port: 80 })",
        "await new Promise((_, fail) => process.getBuiltinModule('node:net').connect(80, '127.0.0.1').on('error', fail))",
        "await new Promise((_, fail) => process.getBuiltinModule('node:http').get('http://127.0.0.1/').on('error', fail))",
    ] {
        let words = exception("main.js", &format!("export default async () => {{ {code} }}")).await;
        assert!(words.contains("the network is closed"), "{code}: {words}");
    }
}

#[tokio::test]
async fn archives_hold_modules_that_import_each_other() {
    let files: [(&str, &str); 6] = [
        (
            "src/main.ts",
            "import { a } from './lib/a.js';\nimport data from '../data.json' with { type: 'json' };\nimport b from './b';\nexport default () => [a(), data.n, b];",
        ),
        (
            "src/lib/a.ts",
            "import { deep } from './deep';\nexport const a = (): string => deep;",
        ),
        ("src/lib/deep/index.js", "export const deep = 'deep';"),
        ("src/b.mjs", "export default import.meta.url;"),
        ("data.json", "{\"n\": 7}"),
        ("unused.js", "this is no JavaScript"),
    ];
    let mut archived = program("main.ts", "");
    archived.code = Code::Archive {
        bytes: tar_gz(&files).into(),
        entrypoint: "src/main.ts".to_owned(),
    };
    let ended = run(archived).await;
    assert_eq!(ended.output(), &json!(["deep", 7, "file:///work/src/b.mjs"]));
}

#[tokio::test]
async fn a_script_reads_its_input_and_its_output_is_one_json_value() {
    for code in [
        "let text = ''; for await (const part of process.stdin) text += part; console.log(JSON.stringify([JSON.parse(text)]));",
        "console.log(JSON.stringify([await new Response(Deno.stdin.readable).json()]));",
        "const bytes = new Uint8Array(99); const n = Deno.stdin.readSync(bytes);\nprocess.stdout.write(`[${new TextDecoder().decode(bytes.subarray(0, n))}]`);",
    ] {
        let mut script = program("main.js", code);
        script.input = Bytes::from_static(b"{\"a\":1}");
        let ended = run(script).await;
        assert_eq!(ended.output(), &json!([{"a": 1}]), "{code}");
    }
}

#[tokio::test]
async fn the_console_and_the_streams_are_the_log() {
    let code = "console.log('a', { b: 1 }); console.warn('c'); console.error('d'); console.info('e');\n\
                process.stdout.write('f\\n'); process.stderr.write('g\\n'); Deno.stderr.writeSync(new TextEncoder().encode('h\\n'));\n\
                export default () => null;";
    let ended = run(program("main.js", code)).await;
    assert_eq!(ended.output(), &json!(null));
    assert_eq!(ended.stdout, "a { b: 1 }\ne\nf\n");
    assert_eq!(ended.stderr, "c\nd\ng\nh\n");
}

#[tokio::test]
async fn an_error_that_nobody_waits_for_is_the_programs_end() {
    for code in [
        "setTimeout(() => { throw new Error('late'); }, 1); await new Promise((done) => setTimeout(done, 5_000));",
        "Promise.reject(new Error('late')); await new Promise((done) => setTimeout(done, 5_000));",
    ] {
        let ended = run(program("main.js", code)).await;
        assert!(ended.words().contains("Error: late"), "{ended:?}");
    }
}

#[tokio::test]
async fn a_warm_handler_stands_still_between_calls_and_keeps_what_it_has() {
    let code = "let ticks = 0; setInterval(() => ticks++, 1);\n\
                export default async () => { const before = ticks; await new Promise((done) => setTimeout(done, 20));\n\
                return [before, ticks]; };";
    let stand = Stand::new().await;
    let first = stand.run(program("main.js", code), InvokeMode::Warm).await;
    let at_the_end = first.output()[1].as_u64().unwrap();
    let before = stand.instance.usage().await.unwrap().cpu_ms;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let after = stand.instance.usage().await.unwrap().cpu_ms;
    let second = stand.run(program("main.js", code), InvokeMode::Warm).await;
    stand.end().await;
    assert!(
        second.output()[0].as_u64().unwrap() <= at_the_end + 2,
        "{first:?} {second:?}"
    );
    assert!(
        after - before < 100.0,
        "it used {} ms while nobody called",
        after - before
    );
}

#[tokio::test]
async fn calls_at_once_are_as_many_as_the_module_says_and_have_logs_of_their_own() {
    let code = "export const concurrency = 3;\nlet waiting = [];\n\
                export default async (i) => {\n  console.log('in', i);\n  if (i !== 'load') {\n    \
                await new Promise((done) => { waiting.push(done); if (waiting.length === 3) waiting.forEach((go) => go()); });\n  }\n  \
                console.log('out', i);\n  return i;\n};";
    let call = |input: &str| {
        let mut program = program("main.js", code);
        program.input = Bytes::from(json!(input).to_string());
        program
    };
    let stand = Stand::new().await;
    let loaded = stand.run(call("load"), InvokeMode::Warm).await;
    // None of the three can end before all have begun.
    let one = |input| stand.run(call(input), InvokeMode::Warm);
    let (a, b, c) = tokio::join!(one("a"), one("b"), one("c"));
    stand.end().await;
    assert_eq!(loaded.outcome.reusable.map(u16::from), Some(3));
    for (ended, name) in [(a, "a"), (b, "b"), (c, "c")] {
        assert_eq!(ended.output(), &json!(name));
        assert_eq!(ended.stdout, format!("in {name}\nout {name}\n"));
    }
}

#[tokio::test]
async fn a_concurrency_that_makes_no_sense_fails_the_load() {
    let ended = run(program(
        "main.js",
        "export const concurrency = 0.5; export default () => 1",
    ))
    .await;
    assert!(
        ended
            .words()
            .contains("'concurrency' must be a whole number from 1 to 64"),
        "{ended:?}"
    );
}

#[tokio::test]
async fn another_runtime_is_not_available() {
    let stand = Stand::new().await;
    let mut python = program("main.py", "print(1)");
    python.runtime = Runtime::Python;
    let (logs, _chunks) = tokio::sync::mpsc::channel(4);
    let invocation = crate::harness::invocation(python, InvokeMode::Once);
    let refused = stand.instance.invoke(invocation, logs).await;
    let started = stand
        .isolate
        .start(request(Resources::default(), Some(Runtime::Python)))
        .await;
    let prepared = started.err().expect("no interpreter of it is there");
    stand.end().await;
    assert!(
        matches!(refused, Err(BackendError::RuntimeUnavailable { .. })),
        "{refused:?}"
    );
    assert!(
        matches!(prepared, BackendError::RuntimeUnavailable { .. }),
        "{prepared:?}"
    );
}

#[tokio::test]
async fn a_forked_call_is_refused() {
    let stand = Stand::new().await;
    let ended = stand
        .run(program("main.js", "export default () => 1"), InvokeMode::Forked)
        .await;
    stand.end().await;
    assert!(ended.words().contains("isolates do not fork"), "{ended:?}");
}

#[tokio::test]
async fn dropping_an_instance_kills_a_program_that_never_waits() {
    let stand = Stand::new().await;
    let spinning = program("main.js", "console.log('ready'); for (;;);");
    let (logs, mut chunks) = tokio::sync::mpsc::channel(4);
    let invocation = crate::harness::invocation(spinning, InvokeMode::Once);
    let instance = std::sync::Arc::clone(&stand.instance);
    let task = tokio::spawn(async move { instance.invoke(invocation, logs).await });
    chunks.recv().await.expect("it says that it is ready");
    task.abort();
    assert!(task.await.is_err_and(|error| error.is_cancelled()));
    drop(stand.instance);
    // Returns when every slot that was in use is thrown away, with whatever ran in it.
    tokio::time::timeout(Duration::from_secs(30), stand.isolate.close())
        .await
        .unwrap();
}

#[tokio::test]
async fn the_least_memory_is_enough_for_a_program_and_less_is_refused() {
    let isolate = Isolate::new(options()).unwrap();
    let with = |mem_mb| Resources {
        mem_mb,
        ..Resources::default()
    };
    let refused = isolate.start(request(with(15), None)).await.err().unwrap();
    let least = isolate
        .start(request(with(16), Some(Runtime::Node)))
        .await
        .unwrap();
    let code = "import { join } from 'node:path';\nexport default () => join('a', 'b'.repeat(1000)).length;";
    let ended = run_in(&*least, program("main.ts", code), InvokeMode::Once).await;
    least.stop(Duration::ZERO).await.unwrap();
    isolate.close().await;
    assert!(refused.to_string().contains("at least 16 MiB"), "{refused}");
    assert!(matches!(refused, BackendError::Unfit { .. }));
    assert_eq!(ended.output(), &json!(1002));
}

#[tokio::test]
async fn without_deno_the_class_is_unfit_and_says_how_to_get_it() {
    let isolate = Isolate::new(Options {
        deno: Some("/nowhere/deno".into()),
        ..options()
    })
    .unwrap();
    let probe = isolate.probe().await;
    let refused = isolate
        .start(request(Resources::default(), None))
        .await
        .err()
        .unwrap();
    isolate.close().await;
    let Readiness::Unfit { reasons } = probe.readiness else {
        panic!("{probe:?}")
    };
    assert!(reasons[0].contains("npm install --prefix"), "{reasons:?}");
    assert!(
        probe
            .runtimes
            .iter()
            .all(|info| !info.available && info.detail.contains("npm install"))
    );
    assert!(refused.to_string().contains("npm install --prefix"), "{refused}");
}

#[tokio::test]
async fn the_probe_names_denos_version() {
    let isolate = Isolate::new(options()).unwrap();
    let probe = isolate.probe().await;
    isolate.close().await;
    assert!(!matches!(probe.readiness, Readiness::Unfit { .. }), "{probe:?}");
    let runtimes: Vec<Runtime> = probe.runtimes.iter().map(|info| info.runtime).collect();
    assert_eq!(runtimes, [Runtime::Node, Runtime::Typescript]);
    assert!(
        probe
            .runtimes
            .iter()
            .all(|info| info.available && info.detail.starts_with("Deno 2.")),
        "{probe:?}"
    );
}

#[tokio::test]
async fn an_exit_is_exact_and_ends_the_call_at_once() {
    let ended = run(program(
        "main.js",
        "console.log('a'); Deno.exit(9); console.log('b');",
    ))
    .await;
    assert_eq!(ended.outcome.status, ExitStatus::Code(9));
    assert_eq!(ended.stdout, "a\n");
}
