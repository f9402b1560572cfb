//! Blank, warm and forked instances through the API.

use serde_json::{Value, json};
use vulcan_api::{IsolationClass, StartKind, Status, Workload};

use crate::fixture::{Fixture, LIMIT, spec};

const PYTHON_COUNTER: &str = "calls = 0\ndef handler(input, context):\n    global calls\n    calls += 1\n    print('call', calls)\n    return calls\n";
const NODE_COUNTER: &str =
    "let calls = 0;\nexport default () => { calls += 1; console.log('call ' + calls); return calls; };\n";

fn body(runtime: &str, isolation: &str, code: &str, reuse: &str) -> Value {
    json!({"runtime": runtime, "isolation": isolation, "code": code, "reuse": reuse})
}

async fn run(fixture: &Fixture, body: Value) -> Workload {
    let workload = fixture.run(&spec(body)).await;
    assert_eq!(workload.status, Status::Completed, "{:?}", workload.error);
    workload
}

/// Waits until an instance of a runtime is kept ready.
async fn wait_for_blank(fixture: &Fixture, class: IsolationClass, runtime: vulcan_api::Runtime) {
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        let list = fixture.client().backends().await.unwrap();
        let is_there = list
            .backends
            .iter()
            .filter(|backend| backend.isolation == class)
            .flat_map(|backend| &backend.pools)
            .any(|pool| pool.runtime == runtime && pool.blank > 0);
        if is_there {
            return;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "no blank instance of {class} for {runtime}: {list:?}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blank_instance_serves_one_program_and_no_second() {
    let fixture = Fixture::start().await;
    for (runtime, isolation, class, code) in [
        ("node", "isolate", IsolationClass::Isolate, NODE_COUNTER),
        ("python", "sandbox", IsolationClass::Sandbox, PYTHON_COUNTER),
    ] {
        wait_for_blank(&fixture, class, runtime.parse().unwrap()).await;
        let first = run(&fixture, body(runtime, isolation, code, "none")).await;
        assert_eq!(first.start, Some(StartKind::Pooled), "{runtime}");
        let cold = run(&fixture, body(runtime, isolation, code, "cold")).await;
        assert_eq!(cold.start, Some(StartKind::Cold), "{runtime}");
        for workload in [first, cold] {
            assert_eq!(workload.output, Some(json!(1)), "{runtime}");
        }
    }
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_call_sees_what_the_one_before_left_and_logs_its_own_lines() {
    let fixture = Fixture::start().await;
    for (runtime, isolation, code) in [
        ("node", "isolate", NODE_COUNTER),
        ("python", "sandbox", PYTHON_COUNTER),
        ("node", "sandbox", NODE_COUNTER),
    ] {
        let first = run(&fixture, body(runtime, isolation, code, "warm")).await;
        assert_ne!(first.start, Some(StartKind::Warm), "{runtime} in {isolation}");
        for call in 2..=4 {
            let next = run(&fixture, body(runtime, isolation, code, "warm")).await;
            assert_eq!(next.start, Some(StartKind::Warm), "{runtime} in {isolation}");
            assert_eq!(next.output, Some(json!(call)), "{runtime} in {isolation}");
            let log = fixture.log(next.id).await;
            let lines: Vec<&str> = log.iter().map(|line| line.text.as_str()).collect();
            assert_eq!(lines, [format!("call {call}")], "{runtime} in {isolation}");
        }
        // Other code, and other settings for the same code, never meet it.
        let mut other = body(runtime, isolation, code, "warm");
        other["env"] = json!({"OTHER": "1"});
        assert_eq!(run(&fixture, other).await.output, Some(json!(1)));
    }
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forked_call_sees_nothing_of_the_one_before() {
    let fixture = Fixture::start().await;
    let request = || body("python", "sandbox", PYTHON_COUNTER, "forked");
    run(&fixture, request()).await;

    for _ in 0..3 {
        let next = run(&fixture, request()).await;
        assert_eq!(next.start, Some(StartKind::Forked));
        assert_eq!(next.output, Some(json!(1)));
    }
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_instance_outlives_an_exception_and_not_a_timeout() {
    let fixture = Fixture::start().await;
    let code = "let calls = 0;
export default (input) => {
    calls += 1;
    if (input === 'throw') throw new Error('as asked');
    while (input === 'spin') {}
    return calls;
};";
    let call = async |input: &str| {
        let mut body = body("node", "isolate", code, "warm");
        body["input"] = json!(input);
        body["resources"] = json!({"timeout_s": 2.0});
        fixture.run(&spec(body)).await
    };
    assert_eq!(call("count").await.output, Some(json!(1)));
    assert_eq!(call("throw").await.status, Status::Failed);
    let third = call("count").await;
    assert_eq!(
        (third.start, third.output),
        (Some(StartKind::Warm), Some(json!(3)))
    );

    assert_eq!(call("spin").await.status, Status::TimedOut);

    assert_eq!(call("count").await.output, Some(json!(1)));
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_warm_calls_at_once_lose_nothing() {
    let fixture = Fixture::start().await;
    let code = "export default (input) => input;";
    let calls = (0..1000).map(|number| {
        let mut body = body("node", "isolate", code, "warm");
        body["input"] = json!(number);
        let fixture = &fixture;
        async move { (number, run(fixture, body).await.output) }
    });

    let results: Vec<(i32, Option<Value>)> = {
        use futures::StreamExt as _;
        futures::stream::iter(calls).buffer_unordered(32).collect().await
    };

    assert_eq!(results.len(), 1000);
    for (number, output) in results {
        assert_eq!(output, Some(json!(number)));
    }
    fixture.end().await;
}
