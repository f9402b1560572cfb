//! Images over HTTP: what is asked of the node, what comes of it, and what does not get there.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use vulcan_api::{ImageEvent, ImageList, ImagesRemoved, Status};

use crate::{
    node_images::image,
    platform::{Platform, platform, problem},
};

async fn pull(platform: &Platform, image: &str) -> Response {
    platform.post("/v1/images/pull", &json!({ "image": image })).await
}

async fn upload(platform: &Platform, path: &str, media_type: &str, body: reqwest::Body) -> Response {
    let request = platform.client.post(format!("{}{path}", platform.url));
    let request = request.header("Content-Type", media_type).body(body);
    request.send().await.unwrap()
}

async fn events(response: Response) -> Vec<ImageEvent> {
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let text = response.text().await.unwrap();
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn step(text: &str) -> ImageEvent {
    ImageEvent::Step {
        text: text.to_owned(),
    }
}

fn done() -> ImageEvent {
    ImageEvent::Done {
        images: vec![image("alpine")],
    }
}

fn failure(event: Option<&ImageEvent>) -> String {
    match event {
        Some(ImageEvent::Failed { problem }) => format!("{}: {}", problem.slug(), problem.detail),
        other => panic!("no failure: {other:?}"),
    }
}

#[tokio::test]
async fn images_are_listed_found_and_removed_by_name_or_digest() {
    let platform = platform().start().await;
    let list: ImageList = platform.get("/v1/images").await.json().await.unwrap();
    assert_eq!(list.images, [image("alpine")]);
    for (path, name) in [
        ("alpine", "alpine"),
        ("registry.example%2Fa%2Fb%3A1", "registry.example/a/b:1"),
        ("vulcan%2Fpython", "vulcan/python"),
        ("sha256:aaaaaaaaaaaa", "alpine"),
    ] {
        let found: Value = platform
            .get(&format!("/v1/images/{path}"))
            .await
            .json()
            .await
            .unwrap();
        assert_eq!(found, serde_json::to_value(image(name)).unwrap(), "{path}");
    }
    let request = platform
        .client
        .delete(format!("{}/v1/images/a%2Fb", platform.url));
    let removed: ImagesRemoved = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(removed.names, ["a/b".parse().unwrap()]);
    for (body, freed) in [(json!({}), 0), (json!({"all": true}), 1)] {
        let removed: ImagesRemoved = platform
            .post("/v1/images/prune", &body)
            .await
            .json()
            .await
            .unwrap();
        assert_eq!(removed.freed_bytes, freed);
    }
}

#[tokio::test]
async fn a_name_that_is_none_and_an_image_that_is_not_there_are_problems() {
    let platform = platform().start().await;
    for (path, slug) in [
        ("Alpine", "invalid-id"),
        ("sha256:aaa", "invalid-id"),
        ("sha256:AAAAAAAAAAAA", "invalid-id"),
        ("gone", "image-not-found"),
        ("gone/export", "image-not-found"),
        ("a/export?archive=zip", "invalid-parameter"),
    ] {
        let problem = problem(platform.get(&format!("/v1/images/{path}")).await).await;
        assert_eq!(problem.slug(), slug, "{path}");
    }
    let request = platform.client.delete(format!("{}/v1/images/busy", platform.url));
    assert_eq!(
        problem(request.send().await.unwrap()).await.slug(),
        "image-in-use"
    );
}

#[tokio::test]
async fn a_pull_tells_what_it_does_until_it_is_done() {
    let platform = platform().start().await;
    let told = events(pull(&platform, "localhost/alpine").await).await;
    assert_eq!(told, [step("localhost/alpine:latest"), done()]);
}

#[tokio::test]
async fn a_failure_before_anything_was_told_is_a_plain_problem_and_a_later_one_the_last_event() {
    let platform = platform().start().await;
    assert_eq!(
        problem(pull(&platform, "gone").await).await.slug(),
        "image-not-found"
    );
    let told = events(pull(&platform, "broken").await).await;
    assert_eq!(failure(told.last()), "image-unreachable: the registry is gone");
    assert_eq!(
        problem(pull(&platform, "Bad").await).await.slug(),
        "invalid-field"
    );
}

#[tokio::test]
async fn a_caller_that_leaves_ends_the_making() {
    let platform = platform().start().await;
    let mut response = pull(&platform, "hold").await;
    assert!(response.chunk().await.unwrap().is_some());

    drop(response);

    platform
        .until("the pull ends", async |platform| {
            platform.node.lock(|memory| memory.images.lock().unwrap().left) == 1
        })
        .await;
}

#[tokio::test]
async fn a_server_that_closes_says_so_to_whoever_waits_for_an_image() {
    let platform = platform().start().await;
    let response = pull(&platform, "hold").await;
    let handle = platform.handle.clone();
    let (told, _) = tokio::join!(events(response), handle.close(Duration::from_secs(10)));
    assert!(failure(told.last()).starts_with("shutting-down"), "{told:?}");
}

#[tokio::test]
async fn an_archive_is_taken_in_pieces_and_whole() {
    let platform = platform().start().await;
    let pieces = (0..100).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![7; 100_000])));
    let body = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
    let response = upload(
        &platform,
        "/v1/images/import?name=localhost/app:1",
        "application/x-tar",
        body,
    )
    .await;
    let told = events(response).await;
    assert_eq!(told, [step("10000000 bytes"), step("localhost/app:1"), done()]);
}

#[tokio::test]
async fn a_build_is_said_in_the_query() {
    let platform = platform().start().await;
    let path = "/v1/images/build?name=app&file=a%2Fvulcan.toml&arg=A%3D1&arg=B%3D2&target=x&no_cache=true";
    let told = events(upload(&platform, path, "application/gzip", "context".into()).await).await;
    assert_eq!(told.first(), Some(&step("7 bytes")));
    let made = platform
        .node
        .lock(|memory| memory.images.lock().unwrap().made.clone());
    insta::assert_snapshot!(made[0].split(", file").nth(1).unwrap(), @r#": "a/vulcan.toml", args: {"A": "1", "B": "2"}, target: Some("x"), no_cache: true }"#);
}

#[tokio::test]
async fn an_upload_that_is_too_large_or_falls_silent_says_why() {
    let platform = platform()
        .options(|options| {
            options.upload_bytes_max = 1_000;
            options.body_timeout = Duration::from_millis(100);
        })
        .start()
        .await;
    let import = "/v1/images/import";
    let whole = upload(&platform, import, "application/x-tar", vec![7; 1_001].into()).await;
    assert_eq!(problem(whole).await.slug(), "body-too-large");
    let endless =
        futures::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from(vec![7; 100]))).take(20);
    let streamed = reqwest::Body::wrap_stream(endless);
    let streamed = upload(&platform, import, "application/x-tar", streamed).await;
    assert_eq!(problem(streamed).await.slug(), "body-too-large");
    let silent = futures::stream::once(async { Ok::<_, std::io::Error>(Bytes::from_static(b"x")) })
        .chain(futures::stream::pending());
    let silent = upload(
        &platform,
        import,
        "application/x-tar",
        reqwest::Body::wrap_stream(silent),
    )
    .await;
    assert_eq!(problem(silent).await.slug(), "request-timeout");
    let page = upload(&platform, import, "text/plain", "x".into()).await;
    assert_eq!(problem(page).await.slug(), "unsupported-media-type");
}

#[tokio::test]
async fn an_export_that_breaks_in_the_middle_does_not_end_in_order() {
    let platform = platform().start().await;
    let whole = platform
        .get("/v1/images/localhost%2Falpine/export?archive=docker")
        .await;
    assert_eq!(whole.headers()["content-type"], "application/x-tar");
    assert_eq!(whole.text().await.unwrap(), "Docker localhost/alpine:latest");
    let broken = platform
        .client
        .get(format!("{}/v1/images/broken/export", platform.url));
    // The break may come before the head of the answer was sent, or after it.
    let read = match broken.send().await {
        Ok(response) => response.bytes().await,
        Err(error) => Err(error),
    };
    assert!(read.is_err(), "{read:?}");
}

#[tokio::test]
async fn the_platforms_own_images_are_made_by_name_or_all() {
    let platform = platform().start().await;
    for body in [json!({}), json!({"names": ["vulcan/python"]})] {
        let told = events(platform.post("/v1/images/bootstrap", &body).await).await;
        assert_eq!(told.last(), Some(&done()));
    }
    let bad = platform
        .post("/v1/images/bootstrap", &json!({"names": ["X"]}))
        .await;
    assert_eq!(problem(bad).await.errors[0].field, "names[0]");
}

#[tokio::test]
async fn a_command_in_an_image_reaches_the_node_and_its_record_names_the_image() {
    let platform = platform().start().await;
    let body = json!({"image": "alpine", "command": ["ls"], "args": ["-l"], "isolation": "gvisor"});
    let record = platform.run(&body).await;
    assert_eq!(record.status, Status::Completed);
    assert_eq!(record.image, Some("alpine".parse().unwrap()));
    assert_eq!(platform.record(record.id).await.image, record.image);
    let assigned = platform.node.lock(|memory| memory.assigned.pop().unwrap());
    assert_eq!(assigned.program.image, record.image);
    assert_eq!(assigned.program.args, ["-l"]);
    let vulcan_api::Code::Image(program) = assigned.program.code else {
        panic!("no command: {:?}", assigned.program.code);
    };
    assert_eq!(program.argv, ["ls"]);
}
