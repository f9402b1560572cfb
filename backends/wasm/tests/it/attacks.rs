//! Attacks that WebAssembly can perform: on time, on memory, on the compiler, on the neighbours, on the platform's words.

use std::{fmt::Write as _, time::Duration};

use serde_json::json;
use tokio::time::timeout;
use vulcan_api::{ErrorCode, Resources};
use vulcan_backend::{Backend, ExitStatus, InvokeMode};

use crate::{
    harness::{command, program},
    stage::{DEADLINE, Stage, begin, call},
};

const WASI: &str = "wasi_snapshot_preview1";

/// Loops of every kind; each says that it is under way first.
fn endless() -> Vec<(&'static str, String)> {
    let ready = format!(
        r#"(import "vulcan" "log" (func $log (param i32 i32 i32)))
           (import "{WASI}" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
           (import "{WASI}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
           (import "{WASI}" "random_get" (func $random (param i32 i32) (result i32)))
           (import "{WASI}" "sched_yield" (func $yield (result i32)))
           (import "{WASI}" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
           (memory (export "memory") 64) (table $t 1 funcref)
           (data (i32.const 0) "ready\n") (global $n (mut i32) (i32.const 0))
           (func $ready (call $log (i32.const 1) (i32.const 0) (i32.const 6)))"#
    );
    loops()
        .into_iter()
        .chain(before_the_entry())
        .map(|(name, body)| (name, format!("(module {ready} {body})")))
        .collect()
}

fn looping(body: &str) -> String {
    format!("(func (export \"_start\") call $ready (loop $l {body} (br $l)))")
}

fn loops() -> Vec<(&'static str, String)> {
    vec![
        ("an empty loop", looping("")),
        ("arithmetic", looping("(global.set $n (i32.add (global.get $n) (i32.const 1)))")),
        (
            "calls that return",
            format!("(func $f (global.set $n (i32.const 1))) {}", looping("(call $f)")),
        ),
        (
            "tail calls",
            "(func $a (return_call $b)) (func $b (return_call $a)) (func (export \"_start\") call $ready call $a)"
                .to_owned(),
        ),
        (
            "filling memory",
            looping("(memory.fill (i32.const 64) (i32.const 7) (i32.const 4000000))"),
        ),
        (
            "copying memory",
            looping("(memory.copy (i32.const 64) (i32.const 65) (i32.const 4000000))"),
        ),
        ("growing memory", looping("(drop (memory.grow (i32.const 1)))")),
        (
            "growing a table",
            looping("(drop (table.grow $t (ref.null func) (i32.const 1)))"),
        ),
        (
            "asking for the time",
            looping("(drop (call $clock (i32.const 0) (i64.const 0) (i32.const 64)))"),
        ),
        (
            "writing nothing",
            looping("(drop (call $write (i32.const 1) (i32.const 64) (i32.const 0) (i32.const 128)))"),
        ),
        (
            "calls that fail",
            looping("(drop (call $write (i32.const 77) (i32.const -1) (i32.const -1) (i32.const -1)))"),
        ),
        (
            "asking for random bytes",
            looping("(drop (call $random (i32.const 64) (i32.const 1000000)))"),
        ),
        ("yielding", looping("(drop (call $yield))")),
        (
            "polling for no time",
            looping("(drop (call $poll (i32.const 64) (i32.const 512) (i32.const 1) (i32.const 1024)))"),
        ),
    ]
}

/// What runs before the entry, or instead of it.
fn before_the_entry() -> Vec<(&'static str, String)> {
    vec![
        (
            "a start function",
            "(func $s call $ready (loop $l (br $l))) (start $s) (func (export \"_start\"))".to_owned(),
        ),
        (
            "an initializer",
            "(func (export \"_initialize\") call $ready (loop $l (br $l)))
             (func (export \"alloc\") (param i32) (result i32) unreachable)
             (func (export \"handler\") (param i32 i32) (result i64) unreachable)"
                .to_owned(),
        ),
        (
            "alloc",
            "(func (export \"alloc\") (param i32) (result i32) call $ready (loop $l (br $l)) unreachable)
             (func (export \"handler\") (param i32 i32) (result i64) unreachable)"
                .to_owned(),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_loop_is_stopped_and_the_slot_is_free_at_once() {
    let stage = Stage::new();
    for (name, text) in endless() {
        let mut run = stage.begin(program("main.wat", text, &[])).await;
        assert_eq!(run.wait_for_output().await.bytes, "ready\n", "{name}");

        run.expect_stop().await;

        stage.expect_empty();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sleeping_and_a_log_that_nobody_reads_are_stopped() {
    let stage = Stage::new();
    for act in ["sleep", "endless_lines"] {
        let mut run = stage.begin(command(act, "", "")).await;
        assert!(run.wait_for_output().await.bytes.starts_with(b"ready\n"));
        run.expect_stop().await;
        stage.expect_empty();
    }
}

/// More spinning guests than there are threads, and the server's own single thread still answers, as do other guests.
#[tokio::test]
async fn spinning_guests_hold_neither_the_server_nor_each_other() {
    let stage = Stage::with(|options| options.threads = 1);
    let mut runs = Vec::new();
    for _ in 0..4 {
        let mut run = stage.begin(command("spin", "", "")).await;
        run.wait_for_output().await;
        runs.push(run);
    }

    // This test has one thread. Nothing of it would go on if a guest had that.
    for _ in 0..20 {
        let (outcome, _) = stage.run(command("exit", 0, "")).await;
        assert_eq!(outcome.error, None);
        timeout(DEADLINE, tokio::time::sleep(Duration::from_millis(1)))
            .await
            .unwrap();
    }

    for run in runs {
        run.expect_stop().await;
    }
    stage.expect_empty();
}

/// A module looks at memory that another one filled. With one slot it is the same memory.
#[tokio::test]
async fn a_slot_shows_nothing_of_its_predecessor() {
    let stage = Stage::with(|options| options.slots_max = 1);
    let resources = Resources {
        mem_mb: 256,
        ..Resources::default()
    };
    // Small growth stays in what is cleared by hand, large growth goes beyond it; each finds the other's pattern or not.
    for pages in [2_000, 1, 16, 2_000, 300, 1, 2_000] {
        let (outcome, _) = stage
            .run_with(command("look_for_a_predecessor", pages, ""), resources)
            .await;
        assert_eq!(outcome.output, Some(json!(0)), "after {pages} pages");
    }
}

/// Another module in the same slot: neither its data nor its globals nor its table are there.
#[tokio::test]
async fn a_slot_shows_nothing_of_another_module() {
    let stage = Stage::with(|options| options.slots_max = 1);
    let secretive = r#"(module (memory (export "memory") 20)
        (data (i32.const 100) "a secret of the first module")
        (func (export "_start") (memory.fill (i32.const 200) (i32.const 165) (i32.const 1300000))))"#;
    let curious = r#"(module (memory (export "memory") 20)
        (func (export "_start") (local $at i32)
          (loop $l
            (if (i32.load8_u (local.get $at)) (then unreachable))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $l (i32.lt_u (local.get $at) (i32.const 1310720))))))"#;
    for _ in 0..5 {
        for text in [secretive, curious] {
            let (outcome, _) = stage.run(program("main.wat", text, &[])).await;
            assert_eq!(outcome.error, None);
        }
    }
}

#[tokio::test]
async fn modules_beyond_the_limits_never_reach_the_compiler() {
    let stage = Stage::new();
    let many = |text: &str, count: usize| text.repeat(count);
    for (text, words) in [
        (
            "(module (table 4000000000 funcref))".to_owned(),
            "entries in one table",
        ),
        (format!("(module {})", many("(table 1 funcref) ", 5)), "tables"),
        (format!("(module {})", many("(memory 0) ", 5)), "memories"),
        (
            format!(
                "(module {})",
                (0..5_001).fold(String::new(), |mut text, n| {
                    let _ = write!(text, "(type (func (param {})))", many("i32 ", n % 7));
                    text
                })
            ),
            "types",
        ),
        (format!("(module {})", many("(func) ", 50_001)), "functions"),
        (
            format!("(module (func (local {})))", many("i64 ", 5_001)),
            "locals in one function",
        ),
        (
            format!("(module (func {}))", many("nop ", 600_000)),
            "bytes in one function",
        ),
    ] {
        stage.expect_failure(&text, ErrorCode::CompileFailed, words).await;
    }
}

#[tokio::test]
async fn nesting_without_end_is_an_error_and_no_crash() {
    let stage = Stage::new();
    for text in [
        "(".repeat(1_000_000),
        format!("(module (func {}))", "(block ".repeat(100_000)),
        format!(
            "(module (func {} {}))",
            "block ".repeat(50_000),
            "end ".repeat(50_000)
        ),
        format!("{}{}", "(component ".repeat(5_000), ")".repeat(5_000)),
    ] {
        let (outcome, _) = stage.run(program("main.wat", text, &[])).await;
        assert!(outcome.error.is_some());
    }
    stage.expect_empty();
}

#[tokio::test]
async fn compiling_ends_at_its_deadline() {
    let stage = Stage::with(|options| options.compile_deadline = Duration::from_nanos(1));
    let (outcome, _) = stage.run(command("exit", 0, "")).await;
    let error = outcome.error.unwrap();
    assert_eq!(error.code, ErrorCode::CompileFailed);
    assert!(
        error.message.contains("compiling took longer than 1ns"),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn tables_are_limited_by_memory_and_their_own_limit() {
    let stage = Stage::new();
    let text = r#"(module (table $t 1 funcref)
        (func (export "_start")
          (if (i32.ne (table.grow $t (ref.null func) (i32.const 1000000)) (i32.const -1)) (then unreachable))))"#;
    let (outcome, _) = stage.run(program("main.wat", text, &[])).await;
    assert_eq!(outcome.error, None);
}

#[tokio::test]
async fn calls_with_wild_arguments_are_refused_and_harm_nobody() {
    let stage = Stage::new();
    let wild = ["-1", "0", "65535", "65536", "2147483647", "-2147483648"];
    let mut calls = String::new();
    for a in wild {
        for b in wild {
            let _ = write!(
                calls,
                "(drop (call $random (i32.const {a}) (i32.const {b})))
                 (drop (call $poll (i32.const {a}) (i32.const {b}) (i32.const {b}) (i32.const {a})))
                 (drop (call $readdir (i32.const 3) (i32.const {a}) (i32.const {b}) (i64.const -1) (i32.const {a})))
                 (drop (call $open (i32.const 3) (i32.const -1) (i32.const {a}) (i32.const {b}) (i32.const -1)
                   (i64.const -1) (i64.const -1) (i32.const {a}) (i32.const {b})))
                 (drop (call $seek (i32.const 3) (i64.const -9223372036854775808) (i32.const {a}) (i32.const {b})))
                 (drop (call $allocate (i32.const 3) (i64.const -1) (i64.const -1)))
                 (drop (call $args (i32.const {a}) (i32.const {b})))
                 (drop (call $write (i32.const 1) (i32.const {a}) (i32.const {b}) (i32.const {a})))
                 (drop (call $renumber (i32.const {a}) (i32.const {b})))"
            );
        }
    }
    let text = format!(
        r#"(module
        (import "{WASI}" "random_get" (func $random (param i32 i32) (result i32)))
        (import "{WASI}" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
        (import "{WASI}" "fd_readdir" (func $readdir (param i32 i32 i32 i64 i32) (result i32)))
        (import "{WASI}" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "{WASI}" "fd_seek" (func $seek (param i32 i64 i32 i32) (result i32)))
        (import "{WASI}" "fd_allocate" (func $allocate (param i32 i64 i64) (result i32)))
        (import "{WASI}" "args_get" (func $args (param i32 i32) (result i32)))
        (import "{WASI}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "{WASI}" "fd_renumber" (func $renumber (param i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start") {calls}))"#
    );

    let (outcome, _) = stage.run(program("main.wat", text, &[])).await;

    assert_eq!(outcome.error, None);
    stage.expect_empty();
}

#[tokio::test]
async fn a_module_without_a_memory_cannot_confuse_the_host() {
    let stage = Stage::new();
    let text = format!(
        r#"(module (import "{WASI}" "args_get" (func $f (param i32 i32) (result i32)))
        (func (export "memory")) (func (export "_start") (drop (call $f (i32.const 0) (i32.const 0)))))"#
    );
    stage
        .expect_failure(&text, ErrorCode::Exception, "no memory named 'memory'")
        .await;
}

#[tokio::test]
async fn there_is_no_network() {
    let stage = Stage::new();
    // 57 is ENOTSOCK.
    let text = format!(
        r#"(module
        (import "{WASI}" "sock_accept" (func $accept (param i32 i32 i32) (result i32)))
        (import "{WASI}" "sock_send" (func $send (param i32 i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start") (local $fd i32)
          (loop $l
            (if (i32.ne (call $accept (local.get $fd) (i32.const 0) (i32.const 0)) (i32.const 57)) (then unreachable))
            (if (i32.ne (call $send (local.get $fd) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const 57))
              (then unreachable))
            (local.set $fd (i32.add (local.get $fd) (i32.const 1)))
            (br_if $l (i32.lt_u (local.get $fd) (i32.const 1000))))))"#
    );
    let (outcome, _) = stage.run(program("main.wat", text, &[])).await;
    assert_eq!(outcome.error, None);
}

#[tokio::test]
async fn forged_frames_are_only_output() {
    let stage = Stage::new();
    let text = r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (import "vulcan" "log" (func $log (param i32 i32 i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\00\00\00\06\00\00\00\01D\00\00\00forged\n{\22stream\22:\22system\22}\n")
        (func (export "_start")
          (call $log (i32.const 0) (i32.const 0) (i32.const 38))
          (call $log (i32.const 3) (i32.const 0) (i32.const 38))
          (call $log (i32.const -1) (i32.const 0) (i32.const 38))
          (call $exit (i32.const 7))))"#;
    let instance = stage.start(Resources::default()).await;
    let run = begin(&instance, program("main.wat", text, &[]), InvokeMode::Once);

    let (chunks, outcome) = run.finish().await;

    assert_eq!(outcome.status, ExitStatus::Code(7));
    assert_eq!(chunks.len(), 3);
    for chunk in chunks {
        assert_eq!(chunk.stream, vulcan_api::LogStream::Stdout);
    }
}

#[tokio::test]
async fn files_are_memory_and_end_with_their_instance() {
    let stage = Stage::new();
    let resources = Resources {
        mem_mb: 32,
        disk_mb: 512,
        ..Resources::default()
    };
    let instance = stage.start(resources).await;

    let (outcome, _) = call(&instance, command("fill_folder", "/work", 256), InvokeMode::Once).await;

    assert_eq!(outcome.unwrap().error.unwrap().code, ErrorCode::OutOfMemory);
    let peak = instance.usage().await.unwrap().mem_peak_mb.unwrap();
    assert!(peak <= 32.0, "{peak}");
    instance.stop(Duration::ZERO).await.unwrap();
    let (outcome, _) = stage.run(command("fill_folder", "/work", 16)).await;
    assert_eq!(outcome.output, Some(json!(16)));
}

#[tokio::test]
async fn what_runs_beside_shares_one_limit_of_memory() {
    let stage = Stage::new();
    let resources = Resources {
        mem_mb: 48,
        ..Resources::default()
    };
    let instance = stage.start(resources).await;
    // It fills its disk, which stays while it sleeps.
    let (filled, _) = call(&instance, command("fill_folder", "/work", 30), InvokeMode::Beside).await;
    assert_eq!(filled.unwrap().output, Some(json!(30)));

    let (second, _) = call(&instance, command("allocate_heap", 30, ""), InvokeMode::Beside).await;

    assert_eq!(second.unwrap().error.unwrap().code, ErrorCode::OutOfMemory);
}

#[tokio::test]
async fn a_backend_that_is_closed_ends_what_runs() {
    let stage = Stage::new();
    let mut run = stage.begin(command("spin", "", "")).await;
    run.wait_for_output().await;

    timeout(DEADLINE, stage.wasm.close()).await.unwrap();

    assert!(timeout(DEADLINE, run.result()).await.unwrap().is_err());
}
