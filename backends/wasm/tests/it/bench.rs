//! What a start costs, measured and printed; asserts nothing. Run it on an idle machine:
//! `cargo test --release -p vulcan-backend-wasm --test it -- --ignored --nocapture bench`.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use vulcan_api::{Clock, InstanceId, Network, Program, Resources, SystemClock, WorkloadId};
use vulcan_backend::{Backend, Instance, Invocation, InvokeMode, LogChunk, Outcome, StartRequest, Upper};
use vulcan_backend_wasm::{Options, Wasm};

use crate::harness::{command, handler, program};

const ECHO: &str = r#"(module
  (memory (export "memory") 1)
  (func (export "alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "handler") (param i32 i32) (result i64)
    (i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32)) (i64.extend_i32_u (local.get 1)))))"#;
const ROUNDS: usize = 20_000;
const AT_ONCE: usize = 16;

#[test]
#[ignore = "a measurement"]
fn bench() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { tokio::spawn(all()).await.unwrap() });
}

async fn all() {
    println!("resident before the backend: {} KiB", resident_kib());
    let folder = tempfile::tempdir().unwrap();
    let wasm = Arc::new(Wasm::new(&Options::new(Some(folder.path().to_owned()))).unwrap());
    println!("resident with an idle backend: {} KiB", resident_kib());
    for (name, program) in [
        ("plain handler of 150 bytes", program("main.wat", ECHO, &[])),
        ("C handler of 15 kB", handler("echo", "")),
        ("C command of 52 kB, exit 0", command("exit", 0, "")),
    ] {
        let first = Instant::now();
        cold(&wasm, &program).await;
        println!("{name}: first use {:?}", first.elapsed());
        sequential(name, &wasm, &program).await;
        concurrent(name, &wasm, &program).await;
    }
    warm("plain handler", &wasm, &program("main.wat", ECHO, &[])).await;
    println!("resident after all: {} KiB", resident_kib());
    beside_spinners(&wasm).await;
    wasm.close().await;
}

async fn sequential(name: &str, wasm: &Arc<Wasm>, program: &Program) {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        cold(wasm, program).await;
        times.push(begun.elapsed());
    }
    print(&format!("{name}: start + invoke + stop"), times);
}

async fn concurrent(name: &str, wasm: &Arc<Wasm>, program: &Program) {
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (wasm, program) = (Arc::clone(wasm), program.clone());
        tasks.spawn(async move {
            for _ in 0..ROUNDS / AT_ONCE {
                cold(&wasm, &program).await;
            }
        });
    }
    tasks.join_all().await;
    let rate = ROUNDS as f64 / begun.elapsed().as_secs_f64();
    println!("{name}: {rate:.0} per second, {AT_ONCE} at once");
}

async fn warm(name: &str, wasm: &Arc<Wasm>, program: &Program) {
    let instance = wasm.start(request()).await.unwrap();
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        invoke(&instance, program, InvokeMode::Warm).await;
        times.push(begun.elapsed());
    }
    instance.stop(Duration::ZERO).await.unwrap();
    print(&format!("{name}: warm call"), times);
}

/// How others fare while as many guests spin as there are threads for guests, and more.
async fn beside_spinners(wasm: &Arc<Wasm>) {
    let mut spinners = Vec::new();
    for _ in 0..4 {
        let instance = wasm.start(request()).await.unwrap();
        let (sink, mut chunks) = mpsc::channel::<LogChunk>(4);
        let invocation = invocation(&command("spin", "", ""), InvokeMode::Once);
        tokio::spawn({
            let instance = Arc::clone(&instance);
            async move { drop(instance.invoke(invocation, sink).await) }
        });
        chunks.recv().await.unwrap();
        spinners.push(instance);
    }
    let mut times = Vec::new();
    for _ in 0..500 {
        let begun = Instant::now();
        tokio::task::spawn(async {}).await.unwrap();
        times.push(begun.elapsed());
    }
    print("a task of the server beside 4 spinning guests", times);
    let mut times = Vec::new();
    for _ in 0..500 {
        let begun = Instant::now();
        cold(wasm, &program("main.wat", ECHO, &[])).await;
        times.push(begun.elapsed());
    }
    print("start + invoke + stop beside 4 spinning guests", times);
    let mut times = Vec::new();
    for instance in spinners {
        let begun = Instant::now();
        instance.stop(Duration::ZERO).await.unwrap();
        times.push(begun.elapsed());
    }
    print("stop of a spinning guest", times);
}

async fn cold(wasm: &Arc<Wasm>, program: &Program) {
    let instance = wasm.start(request()).await.unwrap();
    let outcome = invoke(&instance, program, InvokeMode::Once).await;
    assert_eq!(outcome.error, None);
    instance.stop(Duration::ZERO).await.unwrap();
}

async fn invoke(instance: &Arc<dyn Instance>, program: &Program, mode: InvokeMode) -> Outcome {
    let (sink, _chunks) = mpsc::channel(4);
    instance.invoke(invocation(program, mode), sink).await.unwrap()
}

fn request() -> StartRequest {
    StartRequest {
        instance: InstanceId::generate(SystemClock.now(), 7),
        resources: Resources::default(),
        network: Network::None,
        prepare: None,
        root: None,
        upper: Upper::Memory,
    }
}

fn invocation(program: &Program, mode: InvokeMode) -> Invocation {
    Invocation {
        workload: WorkloadId::generate(SystemClock.now(), 7),
        program: program.clone(),
        timeout: Duration::from_secs(30),
        output_bytes_max: 1 << 20,
        mode,
    }
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!("{what}: p50 {:?}, p99 {:?}, max {:?}", at(50), at(99), at(100));
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
