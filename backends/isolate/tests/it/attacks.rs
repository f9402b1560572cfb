//! Hostile programs: what spins is killed, what grows is out of memory, and neither Deno's doors nor the host script's open.
//!
//! That the box holds for raw system calls, too, is what the sandbox's suite shows: its instances run in the same box, from
//! the same launcher.

use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use vulcan_api::{ErrorCode, Readiness, Resources};
use vulcan_backend::{Backend as _, BackendError, InvokeMode};
use vulcan_backend_isolate::Isolate;

use crate::harness::{Stand, invocation, options, program, request, run, run_in};

const SMALL: Resources = Resources {
    cpus: 1.0,
    mem_mb: 64,
    disk_mb: 64,
    pids: 32,
    timeout_s: 30.0,
};

/// Runs what never ends beside a neighbour, stops it, and asserts that the neighbour and the next one know nothing of it.
async fn is_killed(code: &str) {
    let isolate = Isolate::new(options()).unwrap();
    let neighbour = isolate.start(request(SMALL, None)).await.unwrap();
    let instance = isolate.start(request(SMALL, None)).await.unwrap();
    let (logs, mut chunks) = mpsc::channel(4);
    let code = format!("export default async () => {{ console.log('ready'); {code} }};");
    let spinning = invocation(program("main.js", &code), InvokeMode::Once);
    let task = {
        let instance = std::sync::Arc::clone(&instance);
        tokio::spawn(async move { instance.invoke(spinning, logs).await })
    };
    let said = tokio::time::timeout(Duration::from_secs(30), chunks.recv())
        .await
        .unwrap();
    assert!(said.is_some(), "{code} ended before it began");
    let other = run_in(
        &*neighbour,
        program("main.js", "export default () => 1"),
        InvokeMode::Warm,
    )
    .await;

    instance.stop(Duration::ZERO).await.unwrap();

    let result = tokio::time::timeout(Duration::from_secs(30), task)
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(result, Err(BackendError::Stopped)), "{code}: {result:?}");
    let again = run_in(
        &*neighbour,
        program("main.js", "export default () => 1"),
        InvokeMode::Warm,
    )
    .await;
    neighbour.stop(Duration::ZERO).await.unwrap();
    isolate.close().await;
    assert_eq!((other.output(), again.output()), (&json!(1), &json!(1)));
}

/// Runs what takes all memory, and asserts that it is told as that.
async fn is_out_of_memory(code: &str) {
    let stand = Stand::with(options(), SMALL, None).await;
    let ended = stand.run(program("main.js", code), InvokeMode::Once).await;
    let probe = stand.isolate.probe().await;
    stand.end().await;
    let error = ended.outcome.error.as_ref().expect("it fails");
    match probe.readiness {
        // Without a memory cgroup the program is refused memory, and fails in its own way.
        Readiness::Degraded { reasons } if reasons.iter().any(|reason| reason.contains("RLIMIT_DATA")) => {}
        _ => {
            assert_eq!(error.code, ErrorCode::OutOfMemory, "{code}: {ended:?}");
            assert!(error.message.contains("64 MiB"), "{error:?}");
        }
    }
}

macro_rules! killed {
    ($($name:ident: $code:expr;)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            is_killed($code).await;
        })+
    };
}

killed! {
    a_loop_without_end_is_killed: "for (;;);";
    a_loop_that_catches_everything_is_killed: "for (;;) { try { for (;;) { null.x } } catch {} finally { continue } }";
    a_catastrophic_regular_expression_is_killed: "/^(a+)+$/.test('a'.repeat(60) + 'b')";
    a_power_of_large_integers_is_killed: "let n = 3n ** 50_000n; for (;;) n = (n * n) % (2n ** 4_000_000n)";
    a_sort_without_end_is_killed: "for (;;) Array.from({ length: 1e5 }, (_, i) => -i).sort((a, b) => a - b)";
    a_flood_of_microtasks_is_killed: "const again = () => queueMicrotask(again); again(); await new Promise(() => {})";
    a_flood_of_promises_is_killed: "for (;;) await null";
    a_wait_inside_of_an_await_is_killed: "await new Promise((done) => setTimeout(done, 1e9))";
    a_wait_on_shared_memory_is_killed:
        "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)";
    a_thenable_that_never_answers_is_killed: "for (;;) await { then(done) { setTimeout(done, 0) } }";
}

#[tokio::test]
async fn a_heap_bomb_is_out_of_memory() {
    is_out_of_memory("const kept = []; for (;;) kept.push({ a: kept.length, b: [kept.length] });").await;
}

#[tokio::test]
async fn a_bomb_of_texts_is_out_of_memory() {
    is_out_of_memory("const kept = []; for (let i = 0; ; i++) kept.push(`${i}`.padEnd(10_000, `${i}`).split('').join(''));").await;
}

#[tokio::test]
async fn a_bomb_of_buffers_is_out_of_memory() {
    is_out_of_memory("const kept = []; for (;;) kept.push(new Uint8Array(1 << 20).fill(1));").await;
}

#[tokio::test]
async fn a_bomb_of_wasm_memory_is_out_of_memory() {
    is_out_of_memory(
        "const memory = new WebAssembly.Memory({ initial: 1 });\n\
         for (;;) { memory.grow(16); new Uint8Array(memory.buffer).fill(1); }",
    )
    .await;
}

#[tokio::test]
async fn one_absurd_allocation_is_the_programs_exception() {
    let ended = run(program(
        "main.js",
        "export default () => new ArrayBuffer(2 ** 50)",
    ))
    .await;
    assert!(ended.words().contains("RangeError"), "{ended:?}");
}

#[tokio::test]
async fn recursion_without_end_is_the_programs_exception() {
    for code in [
        "const f = () => f() + 1; export default f",
        "const f = () => [1].map(f); export default f",
        "const f = () => JSON.stringify({ toJSON: f }); export default f",
        "export default () => new RegExp('('.repeat(1e6) + ')'.repeat(1e6))",
    ] {
        let ended = run(program("main.js", code)).await;
        assert_eq!(
            ended.outcome.error.as_ref().map(|error| error.code),
            Some(ErrorCode::Exception),
            "{ended:?}"
        );
    }
}

#[tokio::test]
async fn a_polluted_world_changes_nothing_of_the_frames() {
    let code = "
        const broken = () => { throw new Error('polluted'); };
        Object.prototype.toJSON = () => 'forged'; Object.prototype.reusable = 7; Object.prototype.kind = 70;
        Object.prototype.code = 'forged'; Object.prototype.then = undefined;
        for (const made of [Uint8Array, Array, String, Map, Set, Promise, Function, RegExp, TextEncoder, TextDecoder]) {
            for (const name of Object.getOwnPropertyNames(made.prototype)) {
                if (name !== 'constructor') try { made.prototype[name] = broken } catch {}
            }
        }
        JSON.stringify = broken; JSON.parse = broken; performance.now = broken; queueMicrotask = broken;
        Deno.stdout.writeSync = broken; Deno.stdin.readSync = broken;
        let n = 0;
        export default () => ++n;";
    let stand = Stand::new().await;
    let mut answers = Vec::new();
    for _ in 0..3 {
        let ended = stand.run(program("main.js", code), InvokeMode::Warm).await;
        answers.push((
            ended.outcome.output,
            ended.outcome.error,
            ended.outcome.reusable.map(u16::from),
        ));
    }
    stand.end().await;
    let expected = [1, 2, 3].map(|n| (Some(json!(n)), None, Some(1)));
    assert_eq!(answers, expected);
}

#[tokio::test]
async fn denos_privileged_doors_are_closed() {
    let code = "
        const tries = {
            read: () => Deno.readTextFileSync('/etc/passwd'),
            list: () => [...Deno.readDirSync('/')],
            write: () => Deno.writeTextFileSync('/tmp/x', 'x'),
            run: () => new Deno.Command('/bin/true').outputSync(),
            ffi: () => Deno.dlopen('/lib/x86_64-linux-gnu/libc.so.6', {}),
            sys: () => Deno.hostname(),
            load: () => Deno.systemMemoryInfo(),
            listen: () => Deno.listen({ port: 0 }),
            fs: () => process.getBuiltinModule('node:fs').readFileSync('/etc/passwd'),
            maps: () => process.getBuiltinModule('node:fs').readFileSync('/proc/self/maps'),
            child: () => { const { error } = process.getBuiltinModule('node:child_process').spawnSync('/bin/true'); throw error; },
            os: () => process.getBuiltinModule('node:os').networkInterfaces(),
            sqlite: () => new (process.getBuiltinModule('node:sqlite').DatabaseSync)('/tmp/x.db'),
            worker: () => new Worker('data:text/javascript,1', { type: 'module' }),
            require: () => process.getBuiltinModule('node:module').createRequire('file:///work/')('/etc/passwd'),
            binding: () => process.binding('fs').open('/etc/passwd'),
            addon: () => process.dlopen({ exports: {} }, '/lib/x86_64-linux-gnu/libc.so.6'),
            permission: () => { if (Deno.permissions.requestSync({ name: 'read' }).state !== 'granted') throw new Error('denied'); },
        };
        export default () => Object.entries(tries).filter(([, attempt]) => { try { attempt(); return true; } catch { return false; } })
            .map(([name]) => name);";
    let ended = run(program("main.js", code)).await;
    assert_eq!(ended.output(), &json!([]));
}

#[tokio::test]
async fn neither_constructors_nor_globals_lead_to_the_host_script() {
    let code = "
        const Global = (() => {}).constructor('return this')();
        const Deeper = ({}).constructor.constructor('return Object.getOwnPropertyNames(this)')();
        export default async () => [
            Global === globalThis,
            Deeper.filter((name) => /vulcan|framewriter|framereader|^calls$|^loaded$/i.test(name)),
            Deno[Deno.internal] === undefined,
            Deno.mainModule,
            await import('file:///opt/vulcan/host/main.js').then(() => 'open', () => 'closed'),
            await import('file:///opt/vulcan/host/frames.js').then(() => 'open', () => 'closed'),
        ];";
    let ended = run(program("main.js", code)).await;
    assert_eq!(
        ended.output(),
        &json!([true, [], true, "file:///work/main.js", "closed", "closed"])
    );
}

#[tokio::test]
async fn a_blank_instance_shows_nothing_of_what_warmed_it() {
    let code = "export default () => [globalThis.i, Object.keys(globalThis).filter((name) => /warm|^b$/.test(name)), process.env,\n\
                process.argv, import.meta.url, Deno.args]";
    let stand = Stand::with(options(), Resources::default(), Some(vulcan_api::Runtime::Node)).await;
    let ended = stand.run(program("main.js", code), InvokeMode::Once).await;
    stand.end().await;
    assert_eq!(
        ended.output(),
        &json!([
            null,
            [],
            {},
            ["deno", "/work/main.js"],
            "file:///work/main.js",
            []
        ])
    );
}

#[tokio::test]
async fn bytes_written_past_the_log_end_the_instance_and_nothing_else() {
    let code = "process.getBuiltinModule('node:fs').writeSync(1, 'x'.repeat(100)); export default () => 1;";
    let isolate = Isolate::new(options()).unwrap();
    let instance = isolate.start(request(SMALL, None)).await.unwrap();
    let (logs, _chunks) = mpsc::channel(64);
    let forging = invocation(program("main.js", code), InvokeMode::Once);
    let result = tokio::time::timeout(Duration::from_secs(30), instance.invoke(forging, logs))
        .await
        .unwrap();
    instance.stop(Duration::ZERO).await.unwrap();
    let next = isolate.start(request(SMALL, None)).await.unwrap();
    let ended = run_in(
        &*next,
        program("main.js", "export default () => 1"),
        InvokeMode::Once,
    )
    .await;
    next.stop(Duration::ZERO).await.unwrap();
    isolate.close().await;
    assert!(matches!(result, Err(BackendError::Protocol { .. })), "{result:?}");
    assert_eq!(ended.output(), &json!(1));
}
