//! Modules that are hard on a compiler: how long each shape takes at a given size of its function. They are what the default
//! limits were chosen by. Measured and printed; asserts nothing:
//! `cargo test --release -p vulcan-backend-wasm --test it -- --ignored --nocapture bombs`.

use std::time::Duration;

use tokio::{sync::mpsc, time::Instant};
use vulcan_api::Resources;
use vulcan_backend::InvokeMode;

use crate::{
    harness::program,
    stage::{Stage, invocation},
};

/// What one function has, in bytes about.
const SIZES: [usize; 2] = [64 * 1024, 255 * 1024];

fn repeated(piece: &str, bytes_each: usize, bytes: usize) -> String {
    piece.repeat(bytes / bytes_each)
}

/// Functions by shape, each of so many bytes.
fn shapes(bytes: usize) -> Vec<(&'static str, String)> {
    [straight(bytes), branching(bytes), others(bytes)].concat()
}

fn straight(bytes: usize) -> Vec<(&'static str, String)> {
    vec![
        ("nothing", repeated("nop ", 1, bytes)),
        (
            "a long sum",
            format!(
                "(local i32) {}",
                repeated(
                    "local.get 0 i32.const 7 i32.mul local.get 0 i32.add local.set 0 ",
                    10,
                    bytes
                )
            ),
        ),
        (
            "values that are all alive",
            format!(
                "(local i32) {} {} drop",
                repeated("local.get 0 i32.load ", 5, bytes),
                "i32.xor ".repeat(bytes / 5 - 1)
            ),
        ),
        (
            "nested blocks",
            format!("{} {}", repeated("block ", 3, bytes), "end ".repeat(bytes / 3)),
        ),
        ("loops nested 1,000 deep", {
            let one = format!("{} {}", "loop ".repeat(1_000), "end ".repeat(1_000));
            repeated(&one, 4_000, bytes)
        }),
    ]
}

fn branching(bytes: usize) -> Vec<(&'static str, String)> {
    let locals = |count: usize| format!("(local {})", "i32 ".repeat(count));
    vec![
        (
            "blocks one after another",
            format!(
                "(local i32) {}",
                repeated(
                    "block local.get 0 br_if 0 i32.const 1 local.set 0 end ",
                    11,
                    bytes
                )
            ),
        ),
        (
            "5,000 locals in blocks",
            with_locals(
                "block local.get A local.set B local.get B br_if 0 end ",
                5_000,
                bytes,
            ),
        ),
        (
            "5,000 locals in conditions",
            with_locals(
                "local.get A if local.get B local.set A else local.get A local.set B end ",
                5_000,
                bytes,
            ),
        ),
        (
            "50 locals in loops",
            with_locals("loop local.get A local.set B local.get B br_if 0 end ", 50, bytes),
        ),
        (
            "all locals in every loop",
            format!("{} {}", locals(100), {
                let body: String = (0..100)
                    .map(|n| format!("local.get {n} i32.const 1 i32.add local.set {n} "))
                    .collect();
                let one = format!("loop {body} local.get 0 br_if 0 end ");
                repeated(&one, 707, bytes)
            }),
        ),
    ]
}

fn others(bytes: usize) -> Vec<(&'static str, String)> {
    vec![
        ("tables of branches", branch_tables(bytes)),
        (
            "calls",
            format!(
                "(local i32) {}",
                repeated("local.get 0 call $callee local.set 0 ", 6, bytes)
            ),
        ),
        (
            "calls with many results",
            repeated(
                "call $many drop drop drop drop drop drop drop drop drop drop drop drop drop drop drop drop ",
                18,
                bytes,
            ),
        ),
        (
            "loads and stores",
            format!(
                "(local i32) {}",
                repeated("local.get 0 local.get 0 i32.load offset=8 i32.store ", 10, bytes)
            ),
        ),
        (
            "vectors",
            format!(
                "(local v128) {}",
                repeated(
                    "local.get 0 local.get 0 i32x4.mul local.get 0 i8x16.swizzle local.set 0 ",
                    14,
                    bytes
                )
            ),
        ),
        (
            "bulk operations",
            repeated("i32.const 0 i32.const 0 i32.const 9 memory.copy ", 10, bytes),
        ),
    ]
}

/// Functions that are as hard as one may be, and how many of them one module may have.
fn at_the_limits() -> Vec<(&'static str, String, usize)> {
    let nested = |depth: usize, times: usize| {
        format!("{} {} ", "loop ".repeat(depth), "end ".repeat(depth)).repeat(times)
    };
    let condition = "local.get A if local.get B local.set A else local.get A local.set B end ";
    vec![
        ("2,000 nested loops", nested(2_000, 1), 45),
        ("2,000 loops in a row", nested(1, 2_000), 45),
        (
            "20,000 blocks in a row",
            "(local i32) ".to_owned()
                + &"block local.get 0 br_if 0 i32.const 1 local.set 0 end ".repeat(19_990),
            6,
        ),
        (
            "5,000 locals in 390 conditions",
            with_locals(condition, 5_000, 14 * 390),
            23,
        ),
        (
            "500 locals in 3,300 conditions",
            with_locals(condition, 500, 14 * 3_300),
            20,
        ),
        (
            "100 locals in 10,000 conditions",
            with_locals(condition, 100, 14 * 9_990),
            7,
        ),
        (
            "calls with many results",
            repeated(
                "call $many drop drop drop drop drop drop drop drop drop drop drop drop drop drop drop drop ",
                18,
                250 * 1024,
            ),
            32,
        ),
    ]
}

fn with_locals(piece: &str, locals: usize, bytes: usize) -> String {
    let mut text = format!("(local {})", "i32 ".repeat(locals));
    for n in 0..bytes / 14 {
        let (a, b) = ((n * 7) % locals, (n * 13 + 1) % locals);
        text.push_str(&piece.replace('A', &a.to_string()).replace('B', &b.to_string()));
    }
    text
}

fn branch_tables(bytes: usize) -> String {
    let depth = 200;
    let targets: String = (0..depth).map(|n| format!("{n} ")).collect();
    let one = format!(
        "{} local.get 0 br_table {targets} {}",
        "block ".repeat(depth),
        "end local.get 0 i32.const 1 i32.add local.set 0 ".repeat(depth)
    );
    format!("(local i32) {}", repeated(&one, 2_600, bytes))
}

fn module(body: &str, times: usize) -> String {
    let results = "i32 ".repeat(16);
    let consts = "i32.const 1 ".repeat(16);
    let functions: String = (0..times).map(|_| format!("(func {body}) ")).collect();
    format!(
        "(module (memory 1) (func $callee (param i32) (result i32) local.get 0)
         (func $many (result {results}) {consts}) {functions} (func (export \"_start\")))"
    )
}

#[test]
#[ignore = "a measurement"]
fn bombs() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        for bytes in SIZES {
            println!("one function of {} KiB:", bytes / 1024);
            for (name, body) in shapes(bytes) {
                measure(name, module(&body, 1)).await;
            }
        }
        println!("the most that the limits let through, in one function and in all:");
        for (name, body, times) in at_the_limits() {
            measure(name, module(&body, 1)).await;
            measure(name, module(&body, times)).await;
        }
        measure(
            "50,000 functions of nothing",
            format!("(module {} (func (export \"_start\")))", "(func) ".repeat(49_990)),
        )
        .await;
    });
}

/// How long a module of one's own takes: `MODULE=path cargo test … -- --ignored --nocapture one_module`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn one_module() {
    let path = std::env::var("MODULE").unwrap();
    let binary = std::fs::read(&path).unwrap();
    measure_binary(&path, binary).await;
}

async fn measure(name: &str, text: String) {
    let binary = wat::parse_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    drop(text);
    measure_binary(name, binary).await;
}

async fn measure_binary(name: &str, binary: Vec<u8>) {
    let stage = Stage::with(|options| {
        options.cache_dir = None;
        options.compile_deadline = Duration::from_secs(600);
        if std::env::var_os("UNLIMITED").is_some() {
            options.module_limits.effort = Duration::from_secs(600);
            options.module_limits.code_bytes = usize::MAX;
            options.module_limits.function_bytes = usize::MAX;
            options.module_limits.blocks = u32::MAX;
            options.module_limits.locals_by_blocks = u64::MAX;
        }
    });
    let len = binary.len();
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status_kib("VmRSS:");
    let (begun, cpu_begun) = (Instant::now(), cpu_seconds());
    let instance = stage.start(Resources::default()).await;
    let (sink, _chunks) = mpsc::channel(4);
    let invocation = invocation(program("main.wasm", binary, &[]), InvokeMode::Once);
    // No deadline: it is what is measured.
    let outcome = instance.invoke(invocation, sink).await.unwrap();
    let (took, cpu) = (begun.elapsed(), cpu_seconds() - cpu_begun);
    let peak = status_kib("VmHWM:").saturating_sub(before) / 1024;
    let error = outcome
        .error
        .map(|error| error.message.chars().take(120).collect::<String>());
    let said = error.or(outcome.output.map(|output| output.to_string()));
    println!(
        "  {name}: {len} bytes, {took:.1?}, {cpu:.1} s of processor, {peak} MiB {}",
        said.unwrap_or_default()
    );
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn status_kib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
