//! `GET /healthz` and `GET /readyz`.

use axum::extract::State;
use vulcan_api::Problem;

use crate::{app::Refused, service::Handle};

/// Says that the server answers.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "healthz",
    tag = "platform",
    responses((status = 200, description = "It does", body = String, content_type = "text/plain"))
)]
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// Says whether the server takes workloads: it is not shutting down, and a node is ready.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "readyz",
    tag = "platform",
    responses(
        (status = 200, description = "It does", body = String, content_type = "text/plain"),
        (status = 503, description = "It does not", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn ready(State(handle): State<Handle>) -> Result<&'static str, Refused> {
    match handle.service.why_not_ready() {
        None => Ok("ready\n"),
        Some(why) => Err(Refused::shutting_down(why)),
    }
}
