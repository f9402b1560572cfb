//! `GET /v1/images`.

use axum::{Json, extract::State};
use vulcan_api::{ImageList, Problem};

use super::parameters::Parameters;
use crate::{app::Refused, service::Handle};

/// Lists the images that are here, by name, with what they take on disk.
#[utoipa::path(
    get,
    path = "/v1/images",
    operation_id = "image_list",
    tag = "images",
    responses(
        (status = 200, description = "All of them", body = ImageList),
        (status = "5XX", description = "The node does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn handle(
    State(handle): State<Handle>,
    parameters: Parameters,
) -> Result<Json<ImageList>, Refused> {
    parameters.only(&[])?;
    handle.service.image_list().await.map(Json)
}
