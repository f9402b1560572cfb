//! What is the sandbox's own: slots, readiness, the sweep.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::mpsc;
use vulcan_api::{
    Clock as _, Code, ErrorCode, InstanceId, Network, Program, Readiness, Resources, Runtime, SystemClock,
    WorkloadId,
};
use vulcan_backend::{Backend, Instance, Invocation, InvokeMode, LogChunk, Outcome, StartRequest, Upper};
use vulcan_backend_sandbox::{Options, Sandbox};

use crate::harness::{SandboxHarness, folders_starting_with};

async fn start(sandbox: &Sandbox) -> Arc<dyn Instance> {
    let instance = InstanceId::generate(SystemClock.now(), 1);
    let request = StartRequest {
        prepare: None,
        root: None,
        upper: Upper::Memory,
        instance,
        resources: Resources::default(),
        network: Network::None,
    };
    sandbox.start(request).await.unwrap()
}

fn invocation(runtime: Runtime, name: &str, code: &[u8]) -> Invocation {
    Invocation {
        workload: WorkloadId::generate(SystemClock.now(), 1),
        program: Program {
            image: None,
            runtime,
            code: Code::File {
                name: name.to_owned(),
                bytes: Bytes::copy_from_slice(code),
            },
            input: Bytes::from_static(b"{\"a\":1}"),
            args: Vec::new(),
            env: BTreeMap::new(),
        },
        timeout: Duration::from_secs(60),
        output_bytes_max: 1 << 20,
        mode: InvokeMode::Once,
    }
}

async fn run(instance: &dyn Instance, invocation: Invocation) -> (Outcome, String) {
    let (logs, mut chunks) = mpsc::channel::<LogChunk>(64);
    let collect = async {
        let mut text = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            text.extend_from_slice(&chunk.bytes);
        }
        String::from_utf8_lossy(&text).into_owned()
    };
    let (outcome, text) = tokio::join!(instance.invoke(invocation, logs), collect);
    (outcome.unwrap(), text)
}

/// Runs code in a fresh instance of a fresh backend and asserts that it gives this output.
async fn expect_output(runtime: Runtime, name: &str, code: &str, output: serde_json::Value) {
    let sandbox = SandboxHarness::new().sandbox();
    let instance = start(&sandbox).await;
    let (outcome, text) = run(&*instance, invocation(runtime, name, code.as_bytes())).await;
    instance.stop(Duration::ZERO).await.unwrap();
    sandbox.close().await;
    assert_eq!(outcome.output, Some(output), "{:?} {text}", outcome.error);
}

#[tokio::test]
async fn a_handler_that_ran_out_of_memory_is_not_kept() {
    if !rustix::process::geteuid().is_root() {
        // Without a memory control group the interpreter itself fails an allocation, as an exception.
        return;
    }
    let code = "def handler(i, c):\n    if i == 'all': return len([bytearray(b'x' * (1 << 20)) for _ in range(4096)])\n    return 1";
    for mode in [InvokeMode::Warm, InvokeMode::Forked] {
        let sandbox = SandboxHarness::new().sandbox();
        let instance = start(&sandbox).await;
        let call = |input: &'static str| {
            let mut call = invocation(Runtime::Python, "main.py", code.as_bytes());
            call.program.input = Bytes::from_static(input.as_bytes());
            Invocation { mode, ..call }
        };

        let (first, _) = run(&*instance, call("null")).await;
        let (second, text) = run(&*instance, call("\"all\"")).await;

        instance.stop(Duration::ZERO).await.unwrap();
        sandbox.close().await;
        assert!(first.reusable.is_some(), "{first:?}");
        let error = second.error.expect(&text).code;
        assert_eq!(
            (error, second.reusable),
            (ErrorCode::OutOfMemory, None),
            "{mode:?}"
        );
    }
}

#[tokio::test]
async fn python_runs() {
    expect_output(
        Runtime::Python,
        "main.py",
        "def handler(i, c): return i['a'] + 1",
        2.into(),
    )
    .await;
}

#[tokio::test]
async fn node_runs() {
    expect_output(
        Runtime::Node,
        "main.js",
        "export default (i) => i.a + 1",
        2.into(),
    )
    .await;
}

#[tokio::test]
async fn typescript_runs() {
    let code = "interface I { a: number }\nexport default (i: I): number => i.a + 1";
    expect_output(Runtime::Typescript, "main.ts", code, 2.into()).await;
}

#[tokio::test]
async fn bash_runs() {
    expect_output(
        Runtime::Bash,
        "main.sh",
        "read -r line; echo \"[$line]\"",
        serde_json::json!([{"a": 1}]),
    )
    .await;
}

#[tokio::test]
async fn go_compiles_in_one_sandbox_and_runs_in_another() {
    let code = "package main\nimport \"fmt\"\nfunc main() { fmt.Println(40 + 2) }\n";
    let sandbox = SandboxHarness::new().sandbox();
    let instance = InstanceId::generate(SystemClock.now(), 1);
    let resources = Resources {
        mem_mb: 1024,
        disk_mb: 512,
        pids: 256,
        cpus: 2.0,
        timeout_s: 300.0,
    };
    let compiler = sandbox
        .start(StartRequest {
            prepare: None,
            root: None,
            upper: Upper::Memory,
            instance,
            resources,
            network: Network::None,
        })
        .await
        .unwrap();
    let build = Invocation {
        mode: InvokeMode::Beside,
        ..invocation(Runtime::Go, "main.go", code.as_bytes())
    };
    let (built, text) = run(&*compiler, build).await;
    assert_eq!(built.error, None, "{text}");
    let program = compiler
        .files()
        .unwrap()
        .read("/work/out/program", 64 << 20)
        .await
        .unwrap();
    compiler.stop(Duration::ZERO).await.unwrap();

    let runner = start(&sandbox).await;
    let (outcome, text) = run(&*runner, invocation(Runtime::Binary, "program", &program)).await;
    runner.stop(Duration::ZERO).await.unwrap();
    sandbox.close().await;

    assert_eq!(outcome.output, Some(42.into()), "{:?} {text}", outcome.error);
}

#[tokio::test]
async fn a_slot_is_used_again_and_the_pool_holds_no_more_than_it_may() {
    let harness = SandboxHarness::new();
    let sandbox = Sandbox::new(Options {
        slots_idle_max: 1,
        ..harness.options()
    })
    .unwrap();
    for _ in 0..3 {
        let (first, second) = tokio::join!(start(&sandbox), start(&sandbox));
        let (one, two) = tokio::join!(first.stop(Duration::ZERO), second.stop(Duration::ZERO));
        one.and(two).unwrap();
    }
    // Slots beyond the first are thrown away in the background, and their cgroups with them.
    let is_root = rustix::process::geteuid().is_root();
    let slots = || -> usize {
        let bases = folders_starting_with(&format!("vulcan-{}", harness.options().owner));
        bases
            .iter()
            .map(|base| {
                std::fs::read_dir(base)
                    .unwrap()
                    .flatten()
                    .filter(|e| e.path().is_dir())
                    .count()
            })
            .max()
            .unwrap_or(0)
    };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while is_root && slots() != 1 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{} slots are left",
            slots()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sandbox.close().await;
    drop(sandbox);
    assert_eq!(
        folders_starting_with(&format!("vulcan-{}", harness.options().owner)),
        Vec::<std::path::PathBuf>::new()
    );
}

#[tokio::test]
async fn readiness_says_what_is_lost_without_root() {
    let sandbox = SandboxHarness::new().sandbox();
    let probe = sandbox.probe().await;
    sandbox.close().await;
    match probe.readiness {
        Readiness::Ready => assert!(rustix::process::geteuid().is_root()),
        Readiness::Degraded { reasons } => {
            assert!(
                !rustix::process::geteuid().is_root(),
                "as root everything holds here: {reasons:?}"
            );
            assert!(
                reasons
                    .iter()
                    .any(|reason| reason.contains("does not run as root")),
                "{reasons:?}"
            );
            assert!(
                reasons.iter().any(|reason| reason.contains("RLIMIT_DATA")),
                "{reasons:?}"
            );
        }
        Readiness::Unfit { reasons } => panic!("{reasons:?}"),
    }
}

#[tokio::test]
async fn a_sweep_removes_what_a_server_left_that_was_killed() {
    let harness = SandboxHarness::new();
    if !rustix::process::geteuid().is_root() {
        // Without cgroups nothing outlives the launchers, and these end with the server.
        return;
    }
    let one_slot = || {
        Sandbox::new(Options {
            slots_ready_min: 1,
            ..harness.options()
        })
        .unwrap()
    };
    let killed = one_slot();
    let instance = start(&killed).await;
    // What `kill -9` does: no destructor runs, and the sockets close.
    std::mem::forget(instance);
    let next = one_slot();

    let swept = next.sweep(&[]).await.unwrap();

    assert_eq!(swept.instances, 1);
    assert_eq!(swept.removed, ["cgroup slot-0"]);
    assert_eq!(next.sweep(&[]).await.unwrap().removed, Vec::<String>::new());
    let again = start(&next).await;
    again.stop(Duration::ZERO).await.unwrap();
    next.close().await;
}
