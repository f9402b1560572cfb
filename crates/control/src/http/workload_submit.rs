//! `POST /v1/workloads/async`.

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
};
use vulcan_api::{Problem, WorkloadAccepted, WorkloadSpec};

use super::{parameters::Parameters, workload_run::read};
use crate::{app::Refused, service::Handle};

/// Takes a workload in, and answers with its id as soon as it would survive a restart of the server.
#[utoipa::path(
    post,
    path = "/v1/workloads/async",
    operation_id = "workload_submit",
    tag = "workloads",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters. A repeat with the same key and body returns the first workload; the key is kept for 24 hours")),
    request_body = WorkloadSpec,
    responses(
        (status = 202, description = "It is recorded and will run", body = WorkloadAccepted),
        (status = "4XX", description = "It was refused", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "The platform could not take it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn handle(
    State(handle): State<Handle>,
    parameters: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<impl IntoResponse, Refused> {
    parameters.only(&[])?;
    let request = read(&handle, &headers, body).await?;
    let accepted = handle.service.workload_submit(request).await?;
    let location = format!("/v1/workloads/{}", accepted.id);
    Ok((
        StatusCode::ACCEPTED,
        [(header::LOCATION, location)],
        Json(accepted),
    ))
}
