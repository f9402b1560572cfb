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

use crate::{
    app::Refused,
    budget::{Budget, Share},
};

/// The most that is allocated before anything has arrived, whatever the length that is announced.
const FIRST_BYTES_MAX: usize = 64 * 1024;

/// What a body may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits<'a> {
    /// Its size.
    pub(super) bytes_max: usize,
    /// The time until it is complete.
    pub(super) timeout: Duration,
    /// The memory of all bodies.
    pub(super) budget: &'a Budget,
}

/// Reads a JSON body whole. The share is the memory that it holds beyond the first 64 KiB; keep it as long as the body.
///
/// # Errors
///
/// `unsupported-media-type`, `body-too-large`, `request-timeout`, `malformed-body`, `overloaded`.
pub(super) async fn read_json(
    headers: &HeaderMap,
    body: Body,
    limits: &Limits<'_>,
) -> Result<(Bytes, Option<Share>), Refused> {
    check_type(headers)?;
    let announced = announced(headers)?;
    if announced.is_some_and(|length| length > limits.bytes_max as u64) {
        return Err(too_large(announced, limits.bytes_max));
    }
    let first = announced.map_or(FIRST_BYTES_MAX, |length| {
        usize::try_from(length).unwrap_or(FIRST_BYTES_MAX)
    });
    match tokio::time::timeout(limits.timeout, collect(body, first.min(FIRST_BYTES_MAX), limits)).await {
        Ok(result) => result,
        Err(_) => {
            let seconds = limits.timeout.as_secs_f64();
            let detail = format!("the body was not complete after {seconds} seconds");
            Err(Refused::new(ProblemKind::RequestTimeout, detail))
        }
    }
}

async fn collect(body: Body, first: usize, limits: &Limits<'_>) -> Result<(Bytes, Option<Share>), Refused> {
    let mut chunks = body.into_data_stream();
    let mut whole = BytesMut::with_capacity(first);
    let mut share: Option<Share> = None;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            Refused::new(ProblemKind::MalformedBody, format!("the body broke off: {error}"))
        })?;
        let length = whole.len() + chunk.len();
        if length > limits.bytes_max {
            return Err(too_large(None, limits.bytes_max));
        }
        if length > whole.capacity() {
            // Growing doubles: what is taken is what will be allocated.
            let more = length.max(whole.capacity() * 2).min(limits.bytes_max.max(length));
            let more_share = limits
                .budget
                .take(more - whole.capacity())
                .ok_or_else(memory_full)?;
            match &mut share {
                Some(share) => share.merge(more_share),
                None => share = Some(more_share),
            }
            let spare = more - whole.len();
            whole.reserve(spare);
        }
        whole.extend_from_slice(&chunk);
    }
    Ok((whole.freeze(), share))
}

fn memory_full() -> Refused {
    Refused::overloaded("other requests hold all the memory that bodies may hold; try again later")
}

/// Returns the length that the head of a request announces.
///
/// # Errors
///
/// `invalid-parameter`.
pub(super) fn announced(headers: &HeaderMap) -> Result<Option<u64>, Refused> {
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
