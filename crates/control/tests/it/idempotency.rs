//! Idempotency keys.

use std::sync::Arc;

use serde_json::Value;
use vulcan_api::{ManualClock, Status, Timestamp, Workload};

use crate::platform::{code, platform, problem};

#[tokio::test]
async fn a_repeat_returns_the_first_workload() {
    let platform = platform().start().await;
    let first: Workload = platform
        .post_keyed("/v1/workloads", "k", &code("ok"))
        .await
        .json()
        .await
        .unwrap();
    let sync: Workload = platform
        .post_keyed("/v1/workloads", "k", &code("ok"))
        .await
        .json()
        .await
        .unwrap();
    let response = platform.post_keyed("/v1/workloads/async", "k", &code("ok")).await;

    assert_eq!(sync, first);
    assert_eq!(response.status(), 202);
    let accepted: Value = response.json().await.unwrap();
    assert_eq!(accepted["id"], first.id.to_string());
    assert_eq!(accepted["status"], "completed");
    assert_eq!(platform.node.lock(|memory| memory.assigned.len()), 1);
}

#[tokio::test]
async fn requests_with_one_key_at_the_same_time_run_one_workload() {
    let platform = platform().start().await;
    let body = code("ok");
    let requests = (0..20).map(|_| platform.post_keyed("/v1/workloads", "same", &body));
    let responses = futures::future::join_all(requests).await;

    let mut ids = Vec::new();
    for response in responses {
        assert_eq!(response.status(), 200);
        let record: Workload = response.json().await.unwrap();
        assert_eq!(record.status, Status::Completed);
        ids.push(record.id);
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(platform.node.lock(|memory| memory.assigned.len()), 1);
}

#[tokio::test]
async fn another_body_with_the_same_key_is_a_conflict() {
    let platform = platform().start().await;
    platform.post_keyed("/v1/workloads", "k", &code("ok")).await;
    let conflict = problem(
        platform
            .post_keyed("/v1/workloads/async", "k", &code("hold"))
            .await,
    )
    .await;
    assert_eq!(conflict.slug(), "idempotency-conflict");
}

#[tokio::test]
async fn a_key_survives_a_restart() {
    let platform = platform().start().await;
    let first: Workload = platform
        .post_keyed("/v1/workloads", "k", &code("ok"))
        .await
        .json()
        .await
        .unwrap();
    let platform = platform.stop(true).await.start().await;
    let again: Workload = platform
        .post_keyed("/v1/workloads", "k", &code("ok"))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(again, first);
}

#[tokio::test]
async fn a_key_is_free_again_after_its_lifetime() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_763_000_000_000)));
    let set = Arc::clone(&clock);
    let platform = platform()
        .options(move |options| options.clock = clock)
        .start()
        .await;
    let first: Workload = platform
        .post_keyed("/v1/workloads", "k", &code("ok"))
        .await
        .json()
        .await
        .unwrap();
    set.advance_millis(24 * 3_600_000 + 1);
    let second: Workload = platform
        .post_keyed("/v1/workloads", "k", &code("ok"))
        .await
        .json()
        .await
        .unwrap();
    assert_ne!(first.id, second.id);
}

#[tokio::test]
async fn a_refused_request_claims_no_key() {
    let platform = platform().start().await;
    let refused = platform
        .post_keyed("/v1/workloads", "k", &serde_json::json!({"runtime": "ruby"}))
        .await;
    assert_eq!(refused.status(), 422);
    assert_eq!(
        platform
            .post_keyed("/v1/workloads", "k", &code("ok"))
            .await
            .status(),
        200
    );
}
