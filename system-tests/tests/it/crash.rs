//! What is there after a restart.

use serde_json::json;
use vulcan_api::{ErrorCode, Status};

use crate::fixture::{Fixture, endless, spec};

#[tokio::test(flavor = "multi_thread")]
async fn records_and_logs_survive_a_restart() {
    let mut fixture = Fixture::start().await;
    let before = fixture
        .run(&spec(json!({"runtime": "bash", "code": "echo kept"})))
        .await;

    fixture.restart().await;

    assert_eq!(fixture.client().get(before.id).await.unwrap(), before);
    assert_eq!(fixture.log(before.id).await[0].text, "kept");
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ran_when_the_server_ended_is_ended_in_the_record() {
    let mut fixture = Fixture::start().await;
    let id = fixture.submit(&endless()).await;
    fixture.wait_for(id, |status| status == Status::Running).await;

    fixture.restart().await;

    let workload = fixture.wait_for(id, Status::is_final).await;
    assert!(
        matches!(workload.status, Status::Failed | Status::Killed),
        "{workload:?}"
    );
    assert!(
        workload
            .error
            .as_ref()
            .is_some_and(|error| matches!(error.code, ErrorCode::NodeRestarted | ErrorCode::Killed)),
        "{workload:?}"
    );
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_directory_has_one_owner() {
    let fixture = Fixture::start().await;
    let listen = vulcan::Listen::Unix(fixture.folder().join("another"));
    let options = vulcan::PlatformOptions::new(
        fixture.folder().join("data"),
        fixture.folder().join("cache"),
        listen,
    );

    let error = vulcan::Platform::start(options)
        .await
        .err()
        .expect("the directory is taken");

    assert!(matches!(error, vulcan::PlatformError::Node { .. }), "{error:?}");
    fixture.end().await;
}
