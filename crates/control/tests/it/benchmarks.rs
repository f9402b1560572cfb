//! Benchmarks: one at a time, kept, found again, ended.

use reqwest::StatusCode;
use serde_json::{Value, json};
use vulcan_api::{Benchmark, BenchmarkList, BenchmarkStatus, IsolationClass, StartKind, WorkloadList};

use crate::platform::{Platform, platform, problem};

impl Platform {
    async fn benchmark(&self, body: &Value) -> Benchmark {
        let response = self.post("/v1/benchmarks", body).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        let location = response.headers()["location"].to_str().unwrap().to_owned();
        let record: Benchmark = response.json().await.unwrap();
        assert_eq!(location, format!("/v1/benchmarks/{}", record.id));
        record
    }

    async fn benchmark_end(&self, record: &Benchmark) -> Benchmark {
        let path = format!("/v1/benchmarks/{}?wait=60s", record.id);
        let record: Benchmark = self.get(&path).await.json().await.unwrap();
        assert!(record.status.is_final(), "{record:?}");
        record
    }

    async fn benchmark_list(&self) -> Vec<(String, BenchmarkStatus)> {
        let list: BenchmarkList = self.get("/v1/benchmarks").await.json().await.unwrap();
        let entries = list.benchmarks.into_iter();
        entries
            .map(|entry| (entry.id.to_string(), entry.status))
            .collect()
    }
}

fn quick() -> Value {
    json!({"quick": true, "works": ["noop"], "samples": 2})
}

#[tokio::test]
async fn what_can_be_measured_is_measured_and_the_rest_says_why() {
    let platform = platform().start().await;

    let record = platform.benchmark(&quick()).await;
    let record = platform.benchmark_end(&record).await;

    assert_eq!(
        (record.status, &record.error),
        (BenchmarkStatus::Completed, &None)
    );
    assert_eq!(record.progress.done, record.progress.total);
    let absent: Vec<IsolationClass> = record.absent.iter().map(|absent| absent.isolation).collect();
    assert!(absent.contains(&IsolationClass::Isolate) && !absent.contains(&IsolationClass::Sandbox));
    let starts: Vec<(StartKind, u32)> = record
        .starts
        .iter()
        .map(|row| (row.start, row.total_ms.map_or(0, |spread| spread.samples)))
        .collect();
    // The fake node starts everything cold.
    assert_eq!(
        starts,
        [
            (StartKind::Cold, 2),
            (StartKind::Pooled, 0),
            (StartKind::Forked, 0),
            (StartKind::Warm, 0)
        ]
    );
    assert_eq!(
        record.starts[1].note.as_deref(),
        Some("not offered: no workload was started pooled")
    );
    let rates: Vec<(StartKind, u32)> = record
        .rates
        .iter()
        .map(|row| (row.start, row.concurrency))
        .collect();
    assert_eq!(
        rates,
        [(StartKind::Cold, 1), (StartKind::Cold, 4), (StartKind::Cold, 16)]
    );
    assert!(
        record
            .rates
            .iter()
            .all(|row| row.completed > 0 && row.failed == 0),
        "{:?}",
        record.rates
    );
    let environment = record.environment.unwrap();
    assert_eq!(
        (environment.cpu.as_str(), environment.node.as_str()),
        ("abacus", "newt")
    );
    assert_eq!(environment.versions["python3"], "Python 3.11.2");
}

#[tokio::test]
async fn a_missing_bare_command_is_a_row_that_says_so() {
    let platform = platform().start().await;
    let record = platform
        .benchmark(&json!({"quick": true, "works": ["noop"], "classes": ["sandbox"]}))
        .await;
    let record = platform.benchmark_end(&record).await;
    let floors: Vec<(&str, Option<f64>, Option<&str>)> = record
        .floors
        .iter()
        .map(|row| {
            (
                row.text.as_str(),
                row.total_ms.map(|spread| spread.p50_ms),
                row.note.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        floors,
        [
            ("python3 -c pass", Some(7.0), None),
            ("node", None, Some("it is not installed")),
            ("bubblewrap", None, Some("it is not installed")),
        ]
    );
    assert_eq!(record.memory[0].note.as_deref(), Some("nothing runs here"));
}

#[tokio::test]
async fn the_workloads_of_a_benchmark_are_forgotten_with_their_logs() {
    let platform = platform().start().await;
    let record = platform.benchmark(&quick()).await;
    platform.benchmark_end(&record).await;
    let list: WorkloadList = platform.get("/v1/workloads").await.json().await.unwrap();
    assert_eq!(list.workloads, []);
    platform
        .until("the node forgot them", async |platform| {
            platform.node.lock(|memory| {
                memory
                    .assigned
                    .iter()
                    .all(|assigned| memory.forgotten.contains(&assigned.workload))
            })
        })
        .await;
}

#[tokio::test]
async fn a_second_benchmark_is_refused_while_one_runs() {
    let platform = platform().start().await;
    let first = platform.benchmark(&json!({"samples": 1000})).await;

    let refused = problem(platform.post("/v1/benchmarks", &quick()).await).await;
    assert_eq!(refused.slug(), "benchmark-running");
    assert!(
        refused.detail.contains(&first.id.to_string()),
        "{}",
        refused.detail
    );

    let url = format!("{}/v1/benchmarks/{}", platform.url, first.id);
    let ended: Benchmark = platform
        .client
        .delete(url)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(ended.status, BenchmarkStatus::Cancelled);
    let second = platform.benchmark(&quick()).await;
    platform.benchmark_end(&second).await;
    assert_eq!(
        platform.benchmark_list().await,
        [
            (second.id.to_string(), BenchmarkStatus::Completed),
            (first.id.to_string(), BenchmarkStatus::Cancelled)
        ]
    );
}

#[tokio::test]
async fn a_restart_ends_a_benchmark_as_failed_and_keeps_what_it_measured() {
    let platform = platform().start().await;
    let record = platform
        .benchmark(&json!({"samples": 30, "classes": ["sandbox"]}))
        .await;
    platform
        .until("a row is there", async |platform| {
            let path = format!("/v1/benchmarks/{}", record.id);
            let record: Benchmark = platform.get(&path).await.json().await.unwrap();
            // The row before the newest is on disk.
            record.starts.len() > 1
        })
        .await;

    let platform = platform.stop(true).await.start().await;

    let record = platform.benchmark_end(&record).await;
    assert_eq!(record.status, BenchmarkStatus::Failed);
    assert_eq!(
        record.error.as_deref(),
        Some("the server was shut down or ended before it was over")
    );
    assert!(!record.starts.is_empty());
}

#[tokio::test]
async fn a_benchmark_that_never_was_is_not_found() {
    let platform = platform().start().await;
    let missing = "/v1/benchmarks/bm_01JKQX7V8MZRN3B4HTGFWDCS9E";
    assert_eq!(
        problem(platform.get(missing).await).await.slug(),
        "benchmark-not-found"
    );
    let other = "/v1/benchmarks/wl_01JKQX7V8MZRN3B4HTGFWDCS9E";
    assert_eq!(problem(platform.get(other).await).await.slug(), "invalid-id");
    let bad = platform.post("/v1/benchmarks", &json!({"samples": 0})).await;
    assert_eq!(problem(bad).await.slug(), "invalid-field");
}
