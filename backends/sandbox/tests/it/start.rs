//! Starting, running, stopping.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::mpsc;
use vulcan_api::{Clock, Code, InstanceId, Network, Program, Resources, Runtime, SystemClock, WorkloadId};
use vulcan_backend::{Backend, Instance, Invocation, Outcome, StartRequest};
use vulcan_backend_sandbox::{Options, Sandbox};

fn sandbox() -> Sandbox {
    Sandbox::new(Options::new(format!("test-{}", std::process::id()))).unwrap()
}

async fn start(sandbox: &Sandbox) -> Arc<dyn Instance> {
    let instance = InstanceId::generate(SystemClock.now(), 1);
    let request = StartRequest {
        instance,
        resources: Resources::default(),
        network: Network::None,
    };
    sandbox.start(request).await.unwrap()
}

async fn run(instance: &dyn Instance, runtime: Runtime, name: &str, code: &str) -> Outcome {
    let (logs, mut lines) = mpsc::channel(64);
    let invocation = Invocation {
        workload: WorkloadId::generate(SystemClock.now(), 1),
        program: Program {
            runtime,
            code: Code::File {
                name: name.to_owned(),
                bytes: Bytes::from(code.to_owned()),
            },
            input: Bytes::from_static(b"{\"a\":1}"),
            args: Vec::new(),
            env: BTreeMap::new(),
        },
        timeout: Duration::from_secs(30),
        output_bytes_max: 1 << 20,
        one_shot: true,
    };
    let print = async {
        while let Some(line) = lines.recv().await {
            println!("{line:?}");
        }
    };
    let (outcome, ()) = tokio::join!(instance.invoke(invocation, logs), print);
    outcome.unwrap()
}

#[tokio::test]
async fn a_python_handler_answers() {
    let sandbox = sandbox();
    for _ in 0..5 {
        let begun = tokio::time::Instant::now();
        let instance = start(&sandbox).await;
        let started = begun.elapsed();
        let outcome = run(
            &*instance,
            Runtime::Python,
            "main.py",
            "def handler(input, context):\n  return input['a'] + 1\n",
        )
        .await;
        let ran = begun.elapsed();
        let usage = instance.usage().await.unwrap();
        instance.stop(Duration::ZERO).await.unwrap();
        println!("{started:?} {ran:?} {:?} {outcome:?} {usage:?}", begun.elapsed());
        assert_eq!(outcome.output, Some(2.into()));
    }
    println!("{:?}", sandbox.probe().await);
    sandbox.close().await;
}
