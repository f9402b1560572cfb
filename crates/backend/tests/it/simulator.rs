//! What the simulator keeps from call to call, for whoever tests pools with it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{collections::BTreeMap, num::NonZeroU16, sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::json;
use tokio::sync::mpsc;
use vulcan_api::{Code, ErrorCode, InstanceId, Network, Program, Resources, Runtime, Timestamp, WorkloadId};
use vulcan_backend::{
    Backend, BackendError, Exited, Instance, Invocation, InvokeMode, Outcome, StartRequest,
    simulator::{Simulator, Step},
};

async fn start(simulator: &Simulator, prepare: Option<Runtime>) -> Result<Arc<dyn Instance>, BackendError> {
    let request = StartRequest {
        root: None,
        upper: vulcan_backend::Upper::Memory,
        instance: InstanceId::generate(Timestamp::from_millis(0), 7),
        resources: Resources::default(),
        network: Network::None,
        prepare,
    };
    simulator.start(request).await
}

async fn fresh() -> Arc<dyn Instance> {
    start(&Simulator::new(), None).await.unwrap()
}

fn invocation(code: &str, mode: InvokeMode) -> Invocation {
    Invocation {
        workload: WorkloadId::generate(Timestamp::from_millis(0), 1),
        program: Program {
            image: None,
            runtime: Runtime::Python,
            code: Code::File {
                name: "main.py".to_owned(),
                bytes: Bytes::copy_from_slice(code.as_bytes()),
            },
            input: Bytes::new(),
            args: Vec::new(),
            env: BTreeMap::new(),
        },
        timeout: Duration::from_secs(30),
        output_bytes_max: 1000,
        mode,
    }
}

async fn call(instance: &dyn Instance, code: &str, mode: InvokeMode) -> Result<Outcome, BackendError> {
    instance
        .invoke(invocation(code, mode), mpsc::channel(100).0)
        .await
}

const COUNTER: &str = "count\nhandler\ncount";

#[tokio::test]
async fn a_warm_number_goes_on_and_a_forked_one_begins_again() {
    for (mode, expected) in [(InvokeMode::Warm, [2, 3, 4]), (InvokeMode::Forked, [2, 2, 2])] {
        let instance = fresh().await;
        for number in expected {
            let outcome = call(&*instance, COUNTER, mode).await.unwrap();
            assert_eq!(outcome.output, Some(json!(number)), "{mode:?}");
            assert_eq!(outcome.reusable, NonZeroU16::new(1));
        }
    }
}

#[tokio::test]
async fn a_script_is_run_warm_once() {
    let instance = fresh().await;
    let outcome = call(&*instance, "count", InvokeMode::Warm).await.unwrap();
    assert_eq!((outcome.output, outcome.reusable), (Some(json!(1)), None));
    assert_eq!(instance.wait().await, Exited::ByItself);
}

#[tokio::test]
async fn only_what_ends_the_process_takes_a_warm_handler_away() {
    for (line, stays_warm, error) in [
        ("throw oh", true, ErrorCode::Exception),
        ("exit 3", false, ErrorCode::ExitCode),
        ("signal 11", false, ErrorCode::Signal),
        ("allocate 100000", false, ErrorCode::OutOfMemory),
    ] {
        for (mode, stays) in [(InvokeMode::Warm, stays_warm), (InvokeMode::Forked, true)] {
            let instance = fresh().await;
            let outcome = call(&*instance, &format!("handler\n{line}"), mode).await.unwrap();
            assert_eq!(outcome.error.map(|error| error.code), Some(error), "{line}");
            assert_eq!(outcome.reusable.is_some(), stays, "{line} {mode:?}");
        }
    }
}

#[tokio::test]
async fn what_fails_while_it_is_loaded_is_not_loaded() {
    for mode in [InvokeMode::Warm, InvokeMode::Forked] {
        let outcome = call(&*fresh().await, "throw oh\nhandler\ncount", mode)
            .await
            .unwrap();
        assert_eq!(outcome.error.map(|error| error.code), Some(ErrorCode::Exception));
        assert_eq!(outcome.reusable, None);
    }
}

#[tokio::test]
async fn another_program_than_the_loaded_one_is_refused() {
    let instance = fresh().await;
    call(&*instance, COUNTER, InvokeMode::Warm).await.unwrap();
    for (code, mode) in [
        ("handler\ncount", InvokeMode::Warm),
        (COUNTER, InvokeMode::Forked),
        (COUNTER, InvokeMode::Once),
    ] {
        let error = call(&*instance, code, mode).await.unwrap_err();
        assert!(matches!(error, BackendError::Refused { .. }), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn more_calls_than_the_handler_takes_are_refused() {
    let code = "handler 2\nstdout here\nsleep 1000";
    let instance = fresh().await;
    let loaded = call(&*instance, code, InvokeMode::Warm).await.unwrap();
    assert_eq!(loaded.reusable, NonZeroU16::new(2));
    let (sink, mut logs) = mpsc::channel(10);
    let tasks = [(); 2].map(|()| {
        let (instance, sink) = (Arc::clone(&instance), sink.clone());
        tokio::spawn(async move { instance.invoke(invocation(code, InvokeMode::Warm), sink).await })
    });
    for _ in 0..2 {
        logs.recv().await.unwrap();
    }

    let third = call(&*instance, code, InvokeMode::Warm).await;

    assert!(matches!(third, Err(BackendError::Refused { .. })), "{third:?}");
    for task in tasks {
        assert!(task.await.unwrap().unwrap().reusable.is_some());
    }
    call(&*instance, code, InvokeMode::Warm).await.unwrap();
}

#[tokio::test]
async fn a_blank_instance_runs_anything_and_is_counted() {
    let simulator = Simulator::new();
    let instance = start(&simulator, Some(Runtime::Python)).await.unwrap();
    assert_eq!((simulator.started(), simulator.started_blank()), (1, 1));
    let outcome = call(&*instance, "output 1", InvokeMode::Once).await.unwrap();
    assert_eq!(outcome.output, Some(json!(1)));

    let error = start(&simulator, Some(Runtime::Bash)).await.err().unwrap();
    assert!(
        matches!(error, BackendError::RuntimeUnavailable { .. }),
        "{error}"
    );
    assert_eq!(simulator.started(), 1);
}

#[tokio::test]
async fn starts_fail_as_often_as_they_are_told_to() {
    let simulator = Simulator::new();
    for _ in 0..2 {
        simulator.fail_next(Step::Start, || BackendError::Exhausted {
            what: "slots",
            source: None,
        });
    }
    for is_started in [false, false, true] {
        let started = start(&simulator, Some(Runtime::Python)).await;
        assert_eq!(started.is_ok(), is_started);
    }
}

#[tokio::test]
async fn an_idle_instance_can_die() {
    let simulator = Simulator::new();
    let instance = start(&simulator, None).await.unwrap();
    call(&*instance, COUNTER, InvokeMode::Warm).await.unwrap();
    simulator.crash_all();
    assert_eq!(instance.wait().await, Exited::ByItself);

    let instance = start(&simulator, None).await.unwrap();
    let outcome = call(&*instance, "handler\ncount\ndie-afterwards", InvokeMode::Warm)
        .await
        .unwrap();
    assert!(outcome.reusable.is_some());
    assert_eq!(instance.wait().await, Exited::ByItself);
}

#[tokio::test]
async fn a_crash_in_the_middle_loses_the_call() {
    let simulator = Simulator::new();
    let instance = start(&simulator, None).await.unwrap();
    let (sink, mut logs) = mpsc::channel(1);
    let running = Arc::clone(&instance);
    let task = tokio::spawn(async move {
        let invocation = invocation("handler\nstdout here\nhang", InvokeMode::Warm);
        running.invoke(invocation, sink).await
    });
    logs.recv().await.unwrap();
    simulator.crash_all();
    let error = task.await.unwrap().unwrap_err();
    assert!(matches!(error, BackendError::Lost { .. }), "{error}");
}
