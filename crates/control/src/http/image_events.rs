//! The answer of everything that makes an image: events as lines of JSON, with signs of life in between.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::Stream;
use vulcan_api::ImageEvent;

use crate::app::Making;

/// How often a silent answer shows that it lives.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
const NDJSON: &str = "application/x-ndjson";

/// Answers with what is told of a making, until its end.
pub(super) fn answer(making: Making) -> Response {
    let mut response = Body::from_stream(stream(making)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Some proxies hold streams back unless they are told.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn stream(making: Making) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
    futures::stream::unfold(making, |mut making| async move {
        let line = match tokio::time::timeout(KEEP_ALIVE_EVERY, making.next()).await {
            // Readers of NDJSON skip empty lines.
            Err(_) => Bytes::from_static(b"\n"),
            Ok(event) => line(&event?),
        };
        Some((Ok(line), making))
    })
}

fn line(event: &ImageEvent) -> Bytes {
    let mut line = serde_json::to_vec(event).expect("events have string keys, and memory takes every byte");
    line.push(b'\n');
    Bytes::from(line)
}
