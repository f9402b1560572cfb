//! `GET /v1/nodes`.

use axum::{Json, extract::State};
use vulcan_api::{NodeList, Problem};

use super::parameters::Parameters;
use crate::{app::Refused, service::Handle};

/// Lists the nodes.
#[utoipa::path(
    get,
    path = "/v1/nodes",
    operation_id = "node_list",
    tag = "platform",
    responses(
        (status = 200, description = "One entry per node", body = NodeList),
        (status = "5XX", description = "The platform cannot tell", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn handle(
    State(handle): State<Handle>,
    parameters: Parameters,
) -> Result<Json<NodeList>, Refused> {
    parameters.only(&[])?;
    Ok(Json(handle.service.node_list()))
}
