//! `GET /v1/images/{image}`.

use axum::{Json, extract::State};
use vulcan_api::{Image, Problem};

use super::parameters::{Parameters, Reference};
use crate::{app::Refused, service::Handle};

/// Returns one image: its layers, and what it says of its program.
#[utoipa::path(
    get,
    path = "/v1/images/{image}",
    operation_id = "image_get",
    tag = "images",
    params(("image" = String, Path, description = "Its name, with every / and : percent-encoded, or its digest as sha256:…, of at least 12 digits")),
    responses(
        (status = 200, description = "The image", body = Image),
        (status = "4XX", description = "There is none", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "The node does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn handle(
    State(handle): State<Handle>,
    Reference(image): Reference,
    parameters: Parameters,
) -> Result<Json<Image>, Refused> {
    parameters.only(&[])?;
    handle.service.image_get(image).await.map(Json)
}
