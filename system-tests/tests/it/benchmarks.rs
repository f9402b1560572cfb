//! A benchmark of a real class, from its request to its numbers.

use std::time::Duration;

use vulcan_api::{
    Benchmark, BenchmarkSpec, BenchmarkStatus, BenchmarkWork, IsolationClass, StartKind, WorkloadList,
};
use vulcan_client::ListQuery;

use crate::fixture::{Fixture, LIMIT};

async fn ended(fixture: &Fixture, begun: &Benchmark) -> Benchmark {
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        let record = fixture
            .client()
            .benchmark_get(begun.id, Duration::from_secs(5))
            .await
            .unwrap();
        if record.status.is_final() {
            return record;
        }
        assert!(tokio::time::Instant::now() < deadline, "{:?}", record.progress);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_benchmark_measures_starts_and_memory_and_leaves_no_workload() {
    let fixture = Fixture::start().await;
    let spec = BenchmarkSpec {
        classes: vec![IsolationClass::Sandbox],
        works: vec![BenchmarkWork::Echo],
        samples: Some(2),
        quick: true,
    };

    let begun = fixture.client().benchmark_begin(&spec).await.unwrap();
    let record = ended(&fixture, &begun).await;

    assert_eq!(
        (record.status, &record.error),
        (BenchmarkStatus::Completed, &None)
    );
    let cold = record
        .starts
        .iter()
        .find(|row| row.start == StartKind::Cold)
        .unwrap();
    assert_eq!(cold.total_ms.unwrap().samples, 2, "{cold:?}");
    let footprint = record.memory[0].footprint.unwrap();
    assert!(
        footprint.processes > 0 && footprint.private_bytes > 0,
        "{footprint:?}"
    );
    assert!(footprint.pss_bytes >= footprint.private_bytes, "{footprint:?}");
    let list: WorkloadList = fixture.client().list(&ListQuery::default()).await.unwrap();
    assert_eq!(list.workloads, []);
    fixture.end().await;
}
