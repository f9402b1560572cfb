//! `GET /v1/workloads/{id}`.

use std::sync::Arc;

use axum::{Json, extract::State};
use vulcan_api::{Problem, Workload};

use super::parameters::{Id, Parameters};
use crate::{app::Refused, service::Handle};

/// Returns one workload; with `wait` once it is over, or as it is when the time is up.
#[utoipa::path(
    get,
    path = "/v1/workloads/{id}",
    operation_id = "workload_get",
    tag = "workloads",
    params(
        ("id" = String, Path, description = "The workload"),
        ("wait" = Option<String>, Query, description = "How long to wait for its end: `30s`, `500ms`; at most 60s"),
    ),
    responses(
        (status = 200, description = "Its record", body = Workload),
        (status = "4XX", description = "There is none, or the id is not one", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn handle(
    State(handle): State<Handle>,
    Id(id): Id,
    parameters: Parameters,
) -> Result<Json<Arc<Workload>>, Refused> {
    let wait = parameters.only(&["wait"])?.wait("wait")?;
    match wait {
        Some(wait) => handle.service.workload_wait(id, wait).await.map(Json),
        None => handle.service.workload_get(id).await.map(Json),
    }
}
