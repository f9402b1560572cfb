//! What happens around every request: an id, a span, a limit on headers, a count, and an answer where code panics.

use std::{
    any::Any,
    net::{IpAddr, SocketAddr},
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
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
    public_hosts: Vec<String>,
}

impl Requests {
    pub(super) fn new(metrics: Arc<Metrics>, random: u128, public_hosts: Vec<String>) -> Self {
        // Half of the bits is enough: an id of a request only has to differ from its neighbours'.
        let first_id = u64::try_from(random >> u64::BITS).unwrap_or_default();
        Self {
            metrics,
            next_id: AtomicU64::new(first_id),
            public_hosts,
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
    let unknown = tracing::field::Empty;
    let span = tracing::info_span!(
        "request",
        request.id = id.as_str(),
        method,
        route,
        workload.id = unknown
    );
    let response = answer(&requests.public_hosts, request, next)
        .instrument(span)
        .await;
    requests
        .metrics
        .answered(method, route, response.status().as_u16(), arrived_at.elapsed());
    let mut response = with_instance(response, &id);
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

async fn answer(public_hosts: &[String], request: Request, next: Next) -> Response {
    let checked = check_size(request.headers()).and_then(|()| check_host(request.headers(), public_hosts));
    if let Err(refused) = checked {
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

/// Refuses names that somebody else may own. A web page can have its own name lead to a loopback address (DNS rebinding),
/// and then is of the same origin as this server for its visitor's browser.
fn check_host(headers: &HeaderMap, public_hosts: &[String]) -> Result<(), Refused> {
    let Some(value) = headers.get(header::HOST) else {
        return Ok(());
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    if is_ours(&text, public_hosts) {
        return Ok(());
    }
    let allowed = "an address, localhost, a name without a dot, or a name that the operator listed as public";
    Err(Problem::new(
        ProblemKind::InvalidParameter,
        format!("the header Host names a server that this is not: {allowed}"),
    )
    .with_field("Host", serde_json::Value::from(text.as_ref()), allowed)
    .into())
}

fn is_ours(host: &str, public_hosts: &[String]) -> bool {
    if host.parse::<SocketAddr>().is_ok() || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    !name.contains('.')
        || name.to_ascii_lowercase().ends_with(".localhost")
        || public_hosts
            .iter()
            .any(|public| public.eq_ignore_ascii_case(name))
}

fn check_size(headers: &HeaderMap) -> Result<(), Refused> {
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

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, http::StatusCode, middleware, routing::get};
    use tower::ServiceExt;

    use super::*;
    use crate::metrics::SharedRegistry;

    async fn defect() -> &'static str {
        panic!("secret detail")
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_that_tells_no_detail() {
        let metrics = Arc::new(Metrics::new(&SharedRegistry::default()));
        let requests = Arc::new(Requests::new(metrics, 7 << 64, Vec::new()));
        let router = Router::new()
            .route("/", get(defect))
            .layer(middleware::from_fn_with_state(requests, wrap));
        let request = Request::builder().uri("/").body(Body::empty()).unwrap();

        let response = router.oneshot(request).await.unwrap();

        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        insta::assert_snapshot!(String::from_utf8_lossy(&body), @r#"{"type":"/problems/internal","title":"The server failed","status":500,"detail":"the server has a defect; its log has more under this request's id","instance":"req_0000000000000007"}"#);
    }

    #[test]
    fn only_names_that_nobody_else_can_own_are_ours() {
        let public = ["vulcan.example.org".to_owned()];
        for ours in [
            "127.0.0.1",
            "127.0.0.1:7070",
            "[::1]:7070",
            "[::1]",
            "localhost:7070",
            "app.localhost",
            "newt",
            "Vulcan.example.org:443",
        ] {
            assert!(is_ours(ours, &public), "{ours}");
        }
        for other in [
            "evil.example",
            "evil.example:7070",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
        ] {
            assert!(!is_ours(other, &public), "{other}");
        }
    }
}
