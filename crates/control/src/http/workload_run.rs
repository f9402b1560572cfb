//! `POST /v1/workloads`.

use std::sync::Arc;

use axum::{Json, body::Body, extract::State, http::HeaderMap};
use tokio::time::Instant;
use vulcan_api::{Problem, Workload, WorkloadSpec};

use super::{
    body::{Limits, read_json},
    parameters::{Parameters, idempotency_key},
};
use crate::{
    app::{Refused, Request},
    service::Handle,
};

/// Runs a workload, and answers when it is over.
///
/// A program that fails is an answer with `status: failed`; a refusal of the platform is a problem. When the caller goes
/// away, the workload goes on, and its record can be read later.
#[utoipa::path(
    post,
    path = "/v1/workloads",
    operation_id = "workload_run",
    tag = "workloads",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters. A repeat with the same key and body returns the first workload; the key is kept for 24 hours")),
    request_body = WorkloadSpec,
    responses(
        (status = 200, description = "It is over", body = Workload),
        (status = "4XX", description = "It was refused", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "The platform could not take it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn handle(
    State(handle): State<Handle>,
    parameters: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Arc<Workload>>, Refused> {
    parameters.only(&[])?;
    let request = read(&handle, &headers, body).await?;
    handle.service.workload_run(request).await.map(Json)
}

/// Reads what both ways to run have in common.
pub(super) async fn read(handle: &Handle, headers: &HeaderMap, body: Body) -> Result<Request, Refused> {
    let arrived_at = Instant::now();
    let idempotency_key = idempotency_key(headers)?;
    let options = &handle.service.options;
    let limits = Limits {
        bytes_max: options.body_bytes_max,
        timeout: options.body_timeout,
        budget: &handle.service.budget,
    };
    let (body, share) = read_json(headers, body, &limits).await?;
    Ok(Request {
        body,
        share,
        idempotency_key,
        arrived_at,
    })
}
