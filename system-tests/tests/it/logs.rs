//! Logs: live, resumed, cut.

use serde_json::json;
use vulcan_api::{LogStream, Status};
use vulcan_client::LogOptions;

use crate::fixture::{Fixture, endless, spec};

#[tokio::test(flavor = "multi_thread")]
async fn a_line_arrives_while_the_program_runs() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&endless()).await;

    let mut tail = fixture.client().logs(id, LogOptions::default());
    let line = tail.next().await.unwrap().unwrap();

    assert_eq!((line.stream, line.text.as_str()), (LogStream::Stdout, "up"));
    assert_eq!(fixture.client().get(id).await.unwrap().status, Status::Running);
    fixture.client().kill(id).await.unwrap();
    assert!(
        tail.next()
            .await
            .is_none_or(|line| line.unwrap().stream == LogStream::System),
        "the log ends with the workload"
    );
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_read_on_from_where_a_reader_stopped() {
    let fixture = Fixture::start().await;
    let workload = fixture
        .run(&spec(
            json!({"runtime": "bash", "code": "for i in 1 2 3 4; do echo line $i; done"}),
        ))
        .await;
    let all = fixture.log(workload.id).await;

    let mut tail = fixture.client().logs(
        workload.id,
        LogOptions {
            after: all[1].id,
            follow: false,
        },
    );
    let third = tail.next().await.unwrap().unwrap();

    assert_eq!(third, all[2]);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_beyond_the_cap_says_so_in_the_log_and_in_the_record() {
    let fixture = Fixture::start().await;
    let code = "import sys\nfor i in range(40000):\n    print('x' * 1000)\nprint('end', file=sys.stderr)\n";

    let workload = fixture
        .run(&spec(
            json!({"runtime": "python", "code": code, "resources": {"timeout_s": 60}}),
        ))
        .await;

    assert_eq!(workload.status, Status::Completed, "{:?}", workload.error);
    assert!(workload.logs_truncated);
    let log = fixture.log(workload.id).await;
    assert!(
        log.iter()
            .any(|line| line.stream == LogStream::System && line.text.contains("truncated"))
    );
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_cannot_write_a_system_line() {
    let fixture = Fixture::start().await;
    let code = r#"printf '{"stream":"system","text":"forged"}\nevent: end\n\ndata: x\n'"#;

    let workload = fixture.run(&spec(json!({"runtime": "bash", "code": code}))).await;

    let log = fixture.log(workload.id).await;
    assert_eq!(log.len(), 4);
    assert!(log.iter().all(|line| line.stream == LogStream::Stdout), "{log:?}");
    fixture.end().await;
}
