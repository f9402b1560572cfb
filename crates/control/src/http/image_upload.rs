//! Archives that come as the body of a request: their type, and the way to the node.

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use futures::StreamExt;
use serde_json::Value;
use vulcan_api::{Problem, ProblemKind};

use super::body::announced;
use crate::{
    app::{Refused, Upload},
    service::Handle,
};

/// The media type of an archive.
pub(super) const TAR: &str = "application/x-tar";
/// What is taken: types that a web page cannot send here without being asked about it first.
const ALLOWED: [&str; 4] = [
    TAR,
    "application/gzip",
    "application/x-gzip",
    "application/octet-stream",
];

/// Starts to take an archive.
///
/// # Errors
///
/// `unsupported-media-type`, `body-too-large`, `invalid-parameter`.
pub(super) fn begin(handle: &Handle, headers: &HeaderMap, body: Body) -> Result<Upload, Refused> {
    check_type(headers)?;
    let announced = announced(headers)?;
    let pieces = body.into_data_stream();
    let pieces = pieces.map(|piece| piece.map_err(|error| error.to_string()));
    handle.service.upload(pieces, announced)
}

fn check_type(headers: &HeaderMap) -> Result<(), Refused> {
    let given = headers
        .get(header::CONTENT_TYPE)
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    let essence = given
        .as_deref()
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase());
    if essence.is_some_and(|essence| ALLOWED.contains(&essence.as_str())) {
        return Ok(());
    }
    let allowed = format!("one of {}", ALLOWED.join(", "));
    let detail = match &given {
        Some(given) => {
            let given: String = given.chars().take(100).collect();
            format!("the Content-Type is '{given}'; send {allowed}")
        }
        None => format!("there is no Content-Type; send {allowed}"),
    };
    Err(Problem::new(ProblemKind::UnsupportedMediaType, detail)
        .with_field(
            "Content-Type",
            given.map(|given| Value::from(given.as_ref())),
            allowed,
        )
        .into())
}
