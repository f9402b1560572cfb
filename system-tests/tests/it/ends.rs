//! How workloads end: by themselves, by their limits, by somebody.

use serde_json::json;
use vulcan_api::{ErrorCode, Status};
use vulcan_client::{ListQuery, RunOptions};

use crate::fixture::{Fixture, LIMIT, endless, slug, spec};

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_code_and_a_signal_are_told() {
    let fixture = Fixture::start().await;
    for (code, exit_code, error) in [
        ("exit 3", 3, ErrorCode::ExitCode),
        ("kill -SEGV $$", 139, ErrorCode::Signal),
    ] {
        let workload = fixture.run(&spec(json!({"runtime": "bash", "code": code}))).await;
        assert_eq!(workload.status, Status::Failed);
        assert_eq!(workload.exit_code, Some(exit_code));
        assert_eq!(workload.error.map(|error| error.code), Some(error));
    }
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_takes_too_long_is_timed_out_with_all_it_started() {
    let fixture = Fixture::start().await;
    let code = "trap '' TERM; (setsid sleep 1000 &) ; while :; do :; done";
    let body = json!({"runtime": "bash", "code": code, "resources": {"timeout_s": 0.3}});

    let workload = fixture.run(&spec(body)).await;

    assert_eq!(workload.status, Status::TimedOut);
    assert_eq!(workload.error.map(|error| error.code), Some(ErrorCode::Timeout));
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_beyond_the_limit_is_out_of_memory() {
    let fixture = Fixture::start().await;
    if !rustix::process::geteuid().is_root() {
        // Without a memory cgroup the limit shows as the interpreter's own error.
        return;
    }
    let body = json!({"runtime": "python", "code": "x = bytearray(200 << 20)", "resources": {"mem_mb": 64}});

    let workload = fixture.run(&spec(body)).await;

    assert_eq!(workload.status, Status::Failed);
    assert_eq!(
        workload.error.map(|error| error.code),
        Some(ErrorCode::OutOfMemory)
    );
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_is_killed_while_it_runs_and_a_second_kill_is_harmless() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&endless()).await;
    fixture.wait_for(id, |status| status == Status::Running).await;

    fixture.client().kill(id).await.unwrap();
    let workload = fixture.client().wait(id, LIMIT).await.unwrap();

    assert_eq!(workload.status, Status::Killed);
    assert_eq!(fixture.client().kill(id).await.unwrap(), workload);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_runs_a_workload_once() {
    let fixture = Fixture::start().await;
    let options = RunOptions {
        idempotency_key: Some("once".to_owned()),
        ..RunOptions::default()
    };
    let once = spec(json!({"runtime": "bash", "code": "echo $RANDOM"}));

    let (first, second) = tokio::join!(
        fixture.client().run(&once, &options),
        fixture.client().run(&once, &options)
    );
    let third = fixture.client().run_async(&once, &options).await.unwrap();
    let other = fixture
        .client()
        .run(&spec(json!({"runtime": "bash", "code": "true"})), &options)
        .await;

    assert_eq!(first.as_ref().unwrap(), second.as_ref().unwrap());
    assert_eq!(third.id, first.unwrap().id);
    assert_eq!(slug(other), "idempotency-conflict");
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_workloads_end_and_takes_no_more() {
    let fixture = Fixture::start().await;
    let id = fixture
        .submit(&spec(
            json!({"runtime": "bash", "code": "echo up; sleep 0.5; echo 7"}),
        ))
        .await;
    fixture.wait_for(id, |status| status == Status::Running).await;

    let refused = async {
        loop {
            let result = fixture
                .try_run(&spec(json!({"runtime": "bash", "code": "true"})))
                .await;
            if result.is_err() {
                return slug(result);
            }
        }
    };
    let ((), refused) = tokio::join!(fixture.platform().drain(), refused);

    assert_eq!(refused, "shutting-down");
    assert_eq!(fixture.client().get(id).await.unwrap().status, Status::Completed);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_mixed_workloads_in_parallel_nothing_is_left() {
    let before = leftovers();
    let fixture = Fixture::start().await;
    let run = |number: u32| {
        let body = match number % 4 {
            0 => json!({"runtime": "bash", "code": "echo 1"}),
            1 => json!({"runtime": "bash", "code": "sleep 1000 & exit 4"}),
            2 => json!({"runtime": "bash", "code": "sleep 1000", "resources": {"timeout_s": 0.05}}),
            _ => {
                json!({"runtime": "python", "code": "x = [bytearray(1 << 20) for _ in range(500)]", "resources": {"mem_mb": 32}})
            }
        };
        let fixture = &fixture;
        async move { fixture.run(&spec(body)).await.status }
    };

    let statuses = futures::future::join_all((0..32).map(run)).await;

    assert_eq!(
        statuses
            .iter()
            .filter(|status| **status == Status::Completed)
            .count(),
        8
    );
    assert_eq!(
        statuses
            .iter()
            .filter(|status| **status == Status::TimedOut)
            .count(),
        8
    );
    let listed = fixture
        .client()
        .list(&ListQuery {
            limit: Some(50),
            ..ListQuery::default()
        })
        .await
        .unwrap();
    assert_eq!(listed.workloads.len(), 32);
    fixture.end().await;
    let deadline = tokio::time::Instant::now() + LIMIT;
    while leftovers() != before {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{:?} instead of {before:?}",
            leftovers()
        );
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// Counts this process's descendants and the mounts it sees.
fn leftovers() -> (usize, usize) {
    let children = std::fs::read_dir("/proc/self/task")
        .unwrap()
        .flatten()
        .map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default())
        .map(|children| children.split_whitespace().count())
        .sum();
    let mounts = std::fs::read_to_string("/proc/self/mounts")
        .unwrap()
        .lines()
        .count();
    // The launchers of the pool are children; before the first start and after the end there are none.
    (children, mounts)
}
