//! `GET /v1/nodes/{name}`.

use axum::{Json, extract::State};
use vulcan_api::{NodeInfo, Problem};

use super::parameters::{Name, Parameters};
use crate::{app::Refused, service::Handle};

/// Returns one node.
#[utoipa::path(
    get,
    path = "/v1/nodes/{name}",
    operation_id = "node_get",
    tag = "platform",
    params(("name" = String, Path, description = "The node")),
    responses(
        (status = 200, description = "What it is and has", body = NodeInfo),
        (status = "4XX", description = "There is none", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn handle(
    State(handle): State<Handle>,
    Name(name): Name,
    parameters: Parameters,
) -> Result<Json<NodeInfo>, Refused> {
    parameters.only(&[])?;
    handle.service.node_get(&name).map(Json)
}
