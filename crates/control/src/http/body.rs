//! Reading a body: its type, its size, its pace.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use serde_json::Value;
use vulcan_api::{Problem, ProblemKind};

use crate::app::Refused;

/// The most that is allocated before anything has arrived, whatever the length that is announced.
const FIRST_BYTES_MAX: usize = 64 * 1024;

/// Reads a JSON body whole.
///
/// # Errors
///
/// `unsupported-media-type`, `body-too-large`, `request-timeout`, `malformed-body`.
pub(super) async fn read_json(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
    timeout: Duration,
) -> Result<Bytes, Refused> {
    check_type(headers)?;
    let announced = announced(headers)?;
    if announced.is_some_and(|length| length > bytes_max as u64) {
        return Err(too_large(announced, bytes_max));
    }
    let first = announced.map_or(FIRST_BYTES_MAX, |length| {
        usize::try_from(length).unwrap_or(FIRST_BYTES_MAX)
    });
    match tokio::time::timeout(timeout, collect(body, first.min(FIRST_BYTES_MAX), bytes_max)).await {
        Ok(result) => result,
        Err(_) => {
            let detail = format!(
                "the body was not complete after {} seconds",
                timeout.as_secs_f64()
            );
            Err(Refused::new(ProblemKind::RequestTimeout, detail))
        }
    }
}

async fn collect(body: Body, first: usize, bytes_max: usize) -> Result<Bytes, Refused> {
    let mut chunks = body.into_data_stream();
    let mut whole = BytesMut::with_capacity(first);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            Refused::new(ProblemKind::MalformedBody, format!("the body broke off: {error}"))
        })?;
        if whole.len() + chunk.len() > bytes_max {
            return Err(too_large(None, bytes_max));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

fn announced(headers: &HeaderMap) -> Result<Option<u64>, Refused> {
    let Some(value) = headers.get(header::CONTENT_LENGTH) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    text.parse().map(Some).map_err(|_| {
        Problem::new(ProblemKind::InvalidParameter, "Content-Length is no number")
            .with_field(
                "Content-Length",
                Value::from(text.as_ref()),
                "a whole number of bytes",
            )
            .into()
    })
}

fn too_large(announced: Option<u64>, bytes_max: usize) -> Refused {
    let allowed = format!("at most {bytes_max} bytes");
    Problem::new(
        ProblemKind::BodyTooLarge,
        format!("the body is too large: {allowed}"),
    )
    .with_field("body", announced.map(Value::from), allowed)
    .into()
}

fn check_type(headers: &HeaderMap) -> Result<(), Refused> {
    const ALLOWED: &str = "application/json";
    let given = headers
        .get(header::CONTENT_TYPE)
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    let essence = given
        .as_deref()
        .and_then(|value| value.split(';').next())
        .map(str::trim);
    if essence.is_some_and(|essence| essence.eq_ignore_ascii_case(ALLOWED)) {
        return Ok(());
    }
    let detail = match &given {
        Some(given) => format!(
            "the Content-Type is '{}'; send {ALLOWED}",
            given.chars().take(100).collect::<String>()
        ),
        None => format!("there is no Content-Type; send {ALLOWED}"),
    };
    Err(Problem::new(ProblemKind::UnsupportedMediaType, detail)
        .with_field(
            "Content-Type",
            given.map(|given| Value::from(given.as_ref())),
            ALLOWED,
        )
        .into())
}
