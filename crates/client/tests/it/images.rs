//! Images: events in order, answers that are cut off, archives in both directions.

use vulcan_api::{ImageArchive, ImageBuild, ImageEvent, ImagePull};
use vulcan_client::ClientError;

use crate::server::{Answer, Scripted, events, with_type};

const STEP: &str = "{\"event\":\"step\",\"text\":\"layer\"}\n";
const DONE: &str = "{\"event\":\"done\",\"images\":[]}\n";

fn pull() -> ImagePull {
    ImagePull {
        image: "localhost/alpine".parse().unwrap(),
        credentials: None,
    }
}

fn told(body: &str) -> Answer {
    with_type("200 OK", "application/x-ndjson", body)
}

#[tokio::test]
async fn events_come_in_order_and_signs_of_life_are_none() {
    let server = Scripted::start(vec![told(&format!("\n{STEP}\n\n{DONE}{STEP}"))]).await;

    let mut events = server.client.image_pull(&pull()).await.unwrap();

    let step = ImageEvent::Step {
        text: "layer".to_owned(),
    };
    assert_eq!(events.next().await.unwrap().unwrap(), step);
    let done = ImageEvent::Done { images: Vec::new() };
    assert_eq!(events.next().await.unwrap().unwrap(), done);
    assert!(events.next().await.is_none(), "nothing follows the end");
    assert!(server.requests()[0].contains("\"image\":\"localhost/alpine:latest\""));
}

#[tokio::test]
async fn events_that_stop_before_their_end_are_an_error() {
    let server = Scripted::start(vec![told(STEP), events(STEP, false), told("{\"event\":1}\n")]).await;
    for _ in 0..3 {
        let events = server.client.image_pull(&pull()).await.unwrap();
        let error = events.finish().await.unwrap_err();
        let is_error = matches!(
            error,
            ClientError::Malformed { .. } | ClientError::Interrupted { .. }
        );
        assert!(is_error, "{error:?}");
    }
}

#[tokio::test]
async fn a_failure_is_the_last_event_and_the_servers_own_refusal() {
    let problem = r#"{"type": "/problems/image-not-found", "title": "t", "status": 404, "detail": "none"}"#;
    let late = format!("{STEP}{{\"event\":\"failed\",\"problem\":{problem}}}\n");
    let early = with_type("404 Not Found", "application/problem+json", problem);
    let server = Scripted::start(vec![told(&late), early]).await;

    let late = server.client.image_pull(&pull()).await.unwrap().finish().await;
    let early = server.client.image_pull(&pull()).await;

    assert_eq!(late.unwrap_err().problem().unwrap().slug(), "image-not-found");
    assert_eq!(early.unwrap_err().problem().unwrap().slug(), "image-not-found");
}

#[tokio::test]
async fn a_build_says_everything_in_its_query() {
    let server = Scripted::start(vec![Answer::Hangup]).await;
    let build = ImageBuild {
        name: "localhost/app:1".parse().unwrap(),
        file: "a b".to_owned(),
        args: [("A".to_owned(), "1&2".to_owned())].into(),
        target: Some("run".to_owned()),
        no_cache: true,
    };

    let refused = server.client.image_build(&build, &b"context"[..]).await;

    assert!(refused.is_err());
    let requests = server.requests();
    let line = requests[0].lines().next().unwrap();
    assert_eq!(
        line,
        "post /v1/images/build?name=localhost%2fapp%3a1&file=a+b&arg=a%3d1%262&target=run&no_cache=true http/1.1"
    );
    assert!(requests[0].contains("content-type: application/x-tar"));
}

#[tokio::test]
async fn an_archive_is_written_whole_or_an_error() {
    let broken =
        Answer::Bytes("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n".to_owned());
    let server = Scripted::start(vec![with_type("200 OK", "application/x-tar", "abcdef"), broken]).await;
    let image = "alpine".parse().unwrap();
    let mut file = Vec::new();

    let whole = server
        .client
        .image_export(&image, ImageArchive::Docker, &mut file)
        .await;
    let cut = server
        .client
        .image_export(&image, ImageArchive::Oci, &mut Vec::new())
        .await;

    assert_eq!((whole.unwrap(), file.as_slice()), (6, &b"abcdef"[..]));
    assert!(matches!(cut, Err(ClientError::Interrupted { .. })), "{cut:?}");
    assert!(server.requests()[0].contains("/export?archive=docker"));
}
