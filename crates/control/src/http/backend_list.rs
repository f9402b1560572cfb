//! `GET /v1/backends`.

use axum::{Json, extract::State};
use vulcan_api::{BackendList, Problem};

use super::parameters::Parameters;
use crate::{app::Refused, service::Handle};

/// Lists the backends of all nodes: readiness, why, capabilities.
#[utoipa::path(
    get,
    path = "/v1/backends",
    operation_id = "backend_list",
    tag = "platform",
    responses(
        (status = 200, description = "One entry per backend and node", body = BackendList),
        (status = "5XX", description = "The platform cannot tell", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn handle(
    State(handle): State<Handle>,
    parameters: Parameters,
) -> Result<Json<BackendList>, Refused> {
    parameters.only(&[])?;
    Ok(Json(handle.service.backend_list()))
}
