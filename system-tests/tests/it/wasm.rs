//! WebAssembly through the API.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use vulcan_api::{ErrorCode, IsolationClass, StartKind, Status, Workload};

use crate::fixture::{Fixture, archive, spec};

/// A WASI command that writes a JSON text to its standard output.
const HELLO: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "{\"hello\": \"wasm\"}\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 18))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;
/// The smallest module there is.
const EMPTY: &[u8] = b"\0asm\x01\0\0\0";

async fn run(fixture: &Fixture, code: &str, more: Value) -> Workload {
    let mut body = json!({"runtime": "wasm", "code": code});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().cloned().unwrap_or_default());
    fixture.run(&spec(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_runs_as_text_in_base64_and_from_an_archive() {
    let fixture = Fixture::start().await;
    let files: [(&str, &[u8]); 1] = [("app/hello.wat", HELLO.as_bytes())];
    let archived = json!({"runtime": "wasm", "code_archive": archive(&files), "entrypoint": "app/hello.wat"});

    for workload in [
        run(&fixture, HELLO, json!({})).await,
        fixture.run(&spec(archived)).await,
    ] {
        assert_eq!(
            workload.output,
            Some(json!({"hello": "wasm"})),
            "{:?}",
            workload.error
        );
        assert_eq!(workload.isolation_used, Some(IsolationClass::Wasm));
        assert_eq!(workload.start, Some(StartKind::Cold));
    }
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_program_fails_in_words() {
    let fixture = Fixture::start().await;
    let foreign = r#"(module (import "env" "telephone" (func)) (func (export "_start")))"#;
    for (code, words) in [
        (STANDARD.encode(b"\x7fELF this is none"), "WebAssembly"),
        (STANDARD.encode(EMPTY), "_start"),
        (foreign.to_owned(), "telephone"),
        ("(module\n  (func (nonsense)))".to_owned(), ":2:"),
    ] {
        let workload = run(&fixture, &code, json!({})).await;
        let error = workload.error.expect("it failed");
        assert_eq!(workload.status, Status::Failed);
        assert!(
            format!("{} {:?}", error.message, error.stack).contains(words),
            "{words}: {error:?}"
        );
    }
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_is_killed_on_time_while_others_run() {
    let fixture = Fixture::start().await;
    let spin = r#"(module (func (export "_start") (loop (br 0))))"#;
    let spinning = (0..4).map(|_| run(&fixture, spin, json!({"resources": {"timeout_s": 1.0}})));
    let calm = async {
        for _ in 0..20 {
            let workload = run(&fixture, HELLO, json!({})).await;
            assert_eq!(workload.status, Status::Completed, "{:?}", workload.error);
        }
    };

    let (spun, ()) = tokio::join!(futures::future::join_all(spinning), calm);

    for workload in spun {
        assert_eq!(workload.status, Status::TimedOut, "{:?}", workload.error);
    }
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_beyond_the_limit_is_not_given() {
    let fixture = Fixture::start().await;
    // Grows until that fails, and then gives up.
    let grow = r#"(module (memory (export "memory") 1)
        (func (export "_start")
          (loop (br_if 0 (i32.ne (memory.grow (i32.const 256)) (i32.const -1))))
          unreachable))"#;

    let workload = run(&fixture, grow, json!({"resources": {"mem_mb": 64}})).await;

    assert_eq!(
        workload.error.map(|error| error.code),
        Some(ErrorCode::OutOfMemory)
    );
    let peak = workload.usage.and_then(|usage| usage.mem_peak_mb);
    assert!(peak.is_some_and(|peak| peak <= 64.0), "{peak:?}");
    fixture.end().await;
}
