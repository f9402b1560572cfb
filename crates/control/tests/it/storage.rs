//! A database that is full or broken, and records that are old.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use vulcan_api::{ManualClock, Status, Timestamp, WorkloadList};

use crate::platform::{code, platform, problem};

#[tokio::test]
async fn a_full_disk_is_a_clear_refusal_and_nothing_is_half_accepted() {
    let platform = platform()
        .options(|options| options.database_bytes_max = Some(256 * 1024))
        .start()
        .await;
    let body = json!({"runtime": "python", "code": "ok", "input": "x".repeat(20_000)});
    let mut stored = 0;
    let refused = loop {
        let response = platform
            .post(
                "/v1/workloads/async",
                &json!({"runtime": "python", "code": "hold", "input": "x".repeat(20_000)}),
            )
            .await;
        if response.status() != 202 {
            break problem(response).await;
        }
        stored += 1;
        assert!(stored < 100);
    };
    assert_eq!(refused.slug(), "storage-unavailable");
    assert!(refused.detail.contains("no space left"), "{}", refused.detail);
    let list: WorkloadList = platform
        .get("/v1/workloads?limit=200")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(list.workloads.len(), stored);
    let assigned = platform.node.lock(|memory| memory.assigned.len());
    assert!(assigned <= stored);

    let sync = problem(platform.post("/v1/workloads", &body).await).await;
    assert_eq!(sync.slug(), "storage-unavailable");
}

#[tokio::test]
async fn an_end_that_cannot_be_stored_is_stored_later_and_not_acknowledged_before() {
    let platform = platform().start().await;
    let request = platform
        .client
        .post(format!("{}/v1/workloads", platform.url))
        .json(&code("hold"));
    let waiting = tokio::spawn(request.send());
    platform
        .until("it runs", async |platform| {
            platform.node.lock(|memory| memory.has.len() == 1)
        })
        .await;
    let id = platform.node.lock(|memory| memory.assigned[0].workload);
    let breaker = break_writes(&platform).await;

    platform
        .node
        .finish(id, crate::node::ended(Status::Completed, None))
        .await;

    let refused = problem(waiting.await.unwrap().unwrap()).await;
    assert_eq!(refused.slug(), "storage-unavailable");
    assert!(refused.detail.contains(&id.to_string()), "{}", refused.detail);
    assert_eq!(platform.record(id).await.status, Status::Running);
    assert!(platform.node.lock(|memory| memory.acknowledged.is_empty()));

    sqlx::query("DROP TRIGGER broken")
        .execute(&breaker)
        .await
        .unwrap();
    assert_eq!(platform.end(id).await.status, Status::Completed);
    platform
        .until("it is acknowledged", async |platform| {
            platform.node.lock(|memory| memory.acknowledged.contains(&id))
        })
        .await;
}

/// Makes every change of a workload's row fail, as a broken disk would.
async fn break_writes(platform: &crate::platform::Platform) -> sqlx::SqlitePool {
    let path = platform.data_dir().join(vulcan_control::DATABASE_FILE);
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let trigger = "CREATE TRIGGER broken BEFORE UPDATE ON workloads BEGIN SELECT RAISE(ABORT, 'broken'); END";
    sqlx::query(trigger).execute(&pool).await.unwrap();
    pool
}

#[tokio::test]
async fn old_records_go_and_their_logs_with_them() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_763_000_000_000)));
    let set = Arc::clone(&clock);
    let platform = platform()
        .options(move |options| {
            options.clock = clock;
            options.retention.sweep_every = Duration::from_millis(20);
            options.retention.keep_for = Duration::from_secs(60);
        })
        .start()
        .await;
    let old = platform.run(&code("ok")).await.id;
    let running = platform.submit(&code("hold")).await;
    assert_eq!(platform.record(old).await.status, Status::Completed);

    set.advance_millis(61_000);

    platform
        .until("it is forgotten", async |platform| {
            platform.node.lock(|memory| memory.forgotten.contains(&old))
        })
        .await;
    let gone = problem(platform.get(&format!("/v1/workloads/{old}")).await).await;
    assert_eq!(gone.slug(), "workload-not-found");
    assert!(!platform.record(running).await.status.is_final());
}

#[tokio::test]
async fn records_beyond_the_number_that_is_kept_go_oldest_first() {
    let platform = platform()
        .options(|options| {
            options.retention.sweep_every = Duration::from_millis(20);
            options.retention.records_max = 3;
            options.clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_763_000_000_010)));
        })
        .start()
        .await;
    for _ in 0..8 {
        platform.run(&code("ok")).await;
    }
    platform
        .until("three are left", async |platform| {
            let list: WorkloadList = platform.get("/v1/workloads").await.json().await.unwrap();
            list.workloads.len() == 3
        })
        .await;
    platform
        .until("five are forgotten", async |platform| {
            platform.node.lock(|memory| memory.forgotten.len() == 5)
        })
        .await;
}
