//! `DELETE /v1/images/{image}`.

use axum::{Json, extract::State};
use vulcan_api::{ImagesRemoved, Problem};

use super::parameters::{Parameters, Reference};
use crate::{app::Refused, service::Handle};

/// Removes a name, and the image with its last one; by digest, the image with all its names.
///
/// One that instances use stays: `image-in-use`.
#[utoipa::path(
    delete,
    path = "/v1/images/{image}",
    operation_id = "image_remove",
    tag = "images",
    params(("image" = String, Path, description = "Its name, with every / and : percent-encoded, or its digest as sha256:…, of at least 12 digits")),
    responses(
        (status = 200, description = "What is gone", body = ImagesRemoved),
        (status = "4XX", description = "There is none, or it is in use", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "The node does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn handle(
    State(handle): State<Handle>,
    Reference(image): Reference,
    parameters: Parameters,
) -> Result<Json<ImagesRemoved>, Refused> {
    parameters.only(&[])?;
    handle.service.image_remove(image).await.map(Json)
}
