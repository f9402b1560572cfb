//! Bad modules: each a failure of the workload that says what happened, why, and what to do.

use bytes::Bytes;
use vulcan_api::{ErrorCode, Resources};
use vulcan_backend::ExitStatus;

use crate::{
    archive::archive,
    harness::{ACTS, command, handler, program},
    stage::Stage,
};

const CANNOT_EXECUTE: ExitStatus = ExitStatus::Code(126);

#[tokio::test]
async fn bytes_that_are_no_module_are_named() {
    let stage = Stage::new();

    let (outcome, _) = stage
        .run(program("main.wasm", &b"\x7fELF\x02\x01"[..], &[]))
        .await;

    assert_eq!(outcome.status, CANNOT_EXECUTE);
    let error = outcome.error.unwrap();
    assert_eq!(error.code, ErrorCode::CompileFailed);
    assert_eq!(
        error.message,
        "main.wasm is not a WebAssembly module: it begins with 7f 45 4c 46, and a module begins with 00 61 73 6d \
         (\"\\0asm\"), its text form with '('"
    );
}

#[tokio::test]
async fn a_module_that_is_cut_does_not_compile() {
    let stage = Stage::new();
    for len in [4, 8, 100, ACTS.len() / 2, ACTS.len() - 1] {
        let (outcome, _) = stage.run(program("main.wasm", &ACTS[..len], &[])).await;
        assert!(outcome.error.is_some(), "{len} bytes");
    }
    stage.expect_empty();
}

#[tokio::test]
async fn an_error_in_the_text_has_line_and_column() {
    let stage = Stage::new();
    let text = "(module\n  (func (export \"_start\")\n    i32.addd))";
    stage
        .expect_failure(text, ErrorCode::CompileFailed, "main.wat:3:5")
        .await;
    stage
        .expect_failure(text, ErrorCode::CompileFailed, "i32.addd")
        .await;
}

#[tokio::test]
async fn a_module_that_is_not_valid_says_where() {
    let stage = Stage::new();
    let text = "(module (func (export \"_start\") (i32.add (i32.const 1) (i64.const 2)) drop))";
    stage
        .expect_failure(text, ErrorCode::CompileFailed, "type mismatch")
        .await;
    stage
        .expect_failure(text, ErrorCode::CompileFailed, "at offset 39")
        .await;
}

#[tokio::test]
async fn features_that_are_not_offered_are_refused() {
    let stage = Stage::new();
    for (text, words) in [
        (
            "(module (memory 1 1 shared) (func (export \"_start\")))",
            "threads",
        ),
        ("(module (memory i64 1) (func (export \"_start\")))", "memory64"),
    ] {
        stage.expect_failure(text, ErrorCode::CompileFailed, words).await;
    }
}

#[tokio::test]
async fn imports_that_are_not_offered_are_named_all_of_them() {
    let stage = Stage::new();
    let text = r#"(module
        (import "env" "system" (func (param i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fork" (func (result i32)))
        (import "vulcan" "secret" (global i32))
        (func (export "_start")))"#;
    let words = "env.system, vulcan.secret, wasi_snapshot_preview1.fork;";
    stage.expect_failure(text, ErrorCode::Exception, words).await;
}

#[tokio::test]
async fn an_import_in_another_form_is_an_error_and_no_crash() {
    let stage = Stage::new();
    let text = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func (param i64)))
        (func (export "_start")))"#;
    stage.expect_failure(text, ErrorCode::Exception, "fd_write").await;
}

#[tokio::test]
async fn a_module_without_an_entry_says_what_it_has() {
    let stage = Stage::new();
    let text = "(module (memory (export \"memory\") 1) (func (export \"main\")))";
    stage
        .expect_failure(
            text,
            ErrorCode::Exception,
            "has no entry: it exports memory, main",
        )
        .await;
    stage
        .expect_failure("(module)", ErrorCode::Exception, "it exports nothing")
        .await;
}

#[tokio::test]
async fn entries_in_another_form_are_named() {
    let stage = Stage::new();
    for (text, words) in [
        (
            "(module (func (export \"_start\") (param i32)))",
            "exports _start as",
        ),
        (
            "(module (func (export \"handler\")))",
            "handler must be a function",
        ),
        (
            "(module (func (export \"handler\") (param i32 i32) (result i64) unreachable))",
            "alloc must be there",
        ),
        (
            "(module (func (export \"alloc\") (param i32) (result i32) unreachable)
              (func (export \"handler\") (param i32 i32) (result i64) unreachable))",
            "memory must be there",
        ),
    ] {
        stage.expect_failure(text, ErrorCode::Exception, words).await;
    }
}

#[tokio::test]
async fn a_trap_is_an_exception_with_a_backtrace_of_names() {
    let stage = Stage::new();
    let text =
        "(module (func $inner unreachable) (func $outer call $inner) (func (export \"_start\") call $outer))";

    let (outcome, _) = stage.run(program("main.wat", text, &[])).await;

    assert_eq!((outcome.status, outcome.output), (ExitStatus::Code(1), None));
    let error = outcome.error.unwrap();
    assert_eq!(error.code, ErrorCode::Exception);
    assert_eq!(
        error.message,
        "wasm trap: wasm `unreachable` instruction executed"
    );
    let stack = error.stack.unwrap();
    let (inner, outer) = (stack.find("inner"), stack.find("outer"));
    assert!(inner.is_some() && inner < outer, "{stack}");
}

#[tokio::test]
async fn recursion_without_end_is_an_exception() {
    let stage = Stage::new();
    let text = "(module (func $f (export \"_start\") call $f))";
    stage
        .expect_failure(text, ErrorCode::Exception, "used up its stack of 512 KiB")
        .await;

    let (outcome, _) = stage.run(command("recurse", "", "")).await;
    assert!(outcome.error.is_some(), "{outcome:?}");
    stage.expect_empty();
}

#[tokio::test]
async fn a_memory_that_begins_beyond_the_limit_is_out_of_memory() {
    let stage = Stage::new();
    let text = "(module (memory 3000) (func (export \"_start\")))";
    stage
        .expect_failure(text, ErrorCode::OutOfMemory, "its limit of 128 MiB")
        .await;
}

#[tokio::test]
async fn memory_that_is_refused_can_be_done_without() {
    let stage = Stage::new();
    let text = r#"(module (memory 1)
        (func (export "_start")
          (if (i32.ne (memory.grow (i32.const 30000)) (i32.const -1)) (then unreachable))))"#;

    let (outcome, _) = stage.run(program("main.wat", text, &[])).await;

    assert_eq!(outcome.error, None);
}

#[tokio::test]
async fn a_modules_own_maximum_is_its_own_affair() {
    let stage = Stage::new();
    let text = r#"(module (memory 1 2)
        (func (export "_start") (drop (memory.grow (i32.const 9))) unreachable))"#;
    stage
        .expect_failure(text, ErrorCode::Exception, "unreachable")
        .await;
}

#[tokio::test]
async fn a_result_outside_of_the_memory_is_an_exception() {
    let stage = Stage::new();

    let (outcome, _) = stage.run(handler("outside", "")).await;

    let error = outcome.error.unwrap();
    assert_eq!(error.code, ErrorCode::Exception);
    assert!(
        error.message.contains("outside of the module's memory"),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn an_alloc_that_gives_no_memory_is_an_exception() {
    let stage = Stage::new();
    for answer in ["-1", "65536", "65533"] {
        let text = format!(
            r#"(module (memory (export "memory") 1)
                (func (export "alloc") (param i32) (result i32) (i32.const {answer}))
                (func (export "handler") (param i32 i32) (result i64) (i64.const 0)))"#
        );
        stage
            .expect_failure(&text, ErrorCode::Exception, "alloc(4) returned")
            .await;
    }
}

#[tokio::test]
async fn an_empty_result_is_no_json() {
    let stage = Stage::new();
    let text = r#"(module (memory (export "memory") 1)
        (func (export "alloc") (param i32) (result i32) (i32.const 0))
        (func (export "handler") (param i32 i32) (result i64) (i64.const 0)))"#;
    stage
        .expect_failure(text, ErrorCode::OutputInvalid, "not a JSON value")
        .await;
}

#[tokio::test]
async fn components_that_do_not_run_say_what_they_are() {
    let stage = Stage::new();
    stage
        .expect_failure("(component)", ErrorCode::Exception, "wasi:cli/run is needed")
        .await;
    let http = "(component (instance $i) (export \"wasi:http/incoming-handler@0.2.0\" (instance $i)))";
    stage
        .expect_failure(http, ErrorCode::Exception, "it needs functions, which route HTTP")
        .await;
    let foreign = "(component (import \"acme:secret/door\" (instance (export \"open\" (func))))
        (instance $i) (export \"wasi:cli/run@0.2.0\" (instance $i)))";
    stage
        .expect_failure(foreign, ErrorCode::Exception, "acme:secret/door")
        .await;
}

#[tokio::test]
async fn archives_that_cannot_be_used_say_why() {
    let stage = Stage::new();
    let mut packed = command("exit", 0, "");
    let mut with = |entrypoint: &str, bytes: Bytes| {
        packed.code = vulcan_api::Code::Archive {
            bytes,
            entrypoint: entrypoint.to_owned(),
        };
        packed.clone()
    };
    let good = archive(&[("main.wasm", ACTS), ("large", &[7; 3 << 20])]);
    let small_disk = Resources {
        disk_mb: 2,
        ..Resources::default()
    };

    let (missing, _) = stage.run(with("other.wasm", good.clone())).await;
    let (no_archive, _) = stage
        .run(with("main.wasm", Bytes::from_static(b"no archive")))
        .await;
    let (too_large, _) = stage.run_with(with("main.wasm", good), small_disk).await;

    for (outcome, words) in [
        (missing, "no file 'other.wasm'"),
        (no_archive, "no tar.gz"),
        (
            too_large,
            "'large' cannot be unpacked: the disk space (resources.disk_mb) is used up",
        ),
    ] {
        let error = outcome.error.unwrap();
        assert!(error.message.contains(words), "not '{words}': {}", error.message);
    }
    stage.expect_empty();
}
