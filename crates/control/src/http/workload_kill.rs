//! `DELETE /v1/workloads/{id}`.

use std::sync::Arc;

use axum::{Json, extract::State};
use vulcan_api::{Problem, Workload};

use super::parameters::{Id, Parameters};
use crate::{app::Refused, service::Handle};

/// Kills a workload, and answers with its record; one that is over stays as it is.
///
/// Waits up to ten seconds for the end. After that the answer has the status of the moment, and the kill goes on.
#[utoipa::path(
    delete,
    path = "/v1/workloads/{id}",
    operation_id = "workload_kill",
    tag = "workloads",
    params(("id" = String, Path, description = "The workload")),
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
    parameters.only(&[])?;
    handle.service.workload_kill(id).await.map(Json)
}
