//! What happens around every request: an id, a span, a limit on headers, a count, and an answer where code panics.

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use tokio::time::Instant;
use tracing::Instrument;
use vulcan_api::{Problem, ProblemKind};

use super::refusal::with_instance;
use crate::{app::Refused, metrics::Metrics};

/// The most bytes of all header names and values together.
const HEADERS_BYTES_MAX: usize = 32 * 1024;
/// The header that carries a request's id.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The label of requests that no route takes.
const NO_ROUTE: &str = "none";

/// What the requests of one server share.
#[derive(Debug)]
pub(super) struct Requests {
    metrics: Arc<Metrics>,
    /// Starts somewhere at random, so that ids of two runs differ.
    next_id: AtomicU64,
}

impl Requests {
    pub(super) fn new(metrics: Arc<Metrics>, first_id: u64) -> Self {
        Self {
            metrics,
            next_id: AtomicU64::new(first_id),
        }
    }
}

/// Wraps every request.
pub(super) async fn wrap(State(requests): State<Arc<Requests>>, request: Request, next: Next) -> Response {
    let arrived_at = Instant::now();
    let id = format!("req_{:016x}", requests.next_id.fetch_add(1, Ordering::Relaxed));
    let method = method_label(request.method());
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
    let span = tracing::info_span!("request", request.id = id.as_str(), method, route);
    let response = answer(request, next).instrument(span).await;
    requests
        .metrics
        .answered(method, route, response.status().as_u16(), arrived_at.elapsed());
    let mut response = with_instance(response, &id);
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

async fn answer(request: Request, next: Next) -> Response {
    if let Err(refused) = check_headers(request.headers()) {
        return refused.into_response();
    }
    // Nothing that a handler shares is left half-changed by a panic: state is behind messages and whole-value locks.
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            tracing::error!(error = panic_text(panic.as_ref()), "request panicked");
            Refused::new(
                ProblemKind::Internal,
                "the server has a defect; its log has more under this request's id",
            )
            .into_response()
        }
    }
}

fn check_headers(headers: &HeaderMap) -> Result<(), Refused> {
    let size = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    let bytes: usize = headers.iter().map(size).sum();
    if bytes <= HEADERS_BYTES_MAX {
        return Ok(());
    }
    let allowed = format!("at most {HEADERS_BYTES_MAX} bytes, all names and values together");
    Err(Problem::new(
        ProblemKind::InvalidParameter,
        format!("the headers have {bytes} bytes: {allowed}"),
    )
    .with_field("headers", serde_json::Value::from(bytes), allowed)
    .into())
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a text")
}

/// A closed set: anybody can send any method.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "DELETE" => "DELETE",
        _ => "other",
    }
}
