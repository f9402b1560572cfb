//! `POST /v1/images/prune`.

use axum::{Json, body::Body, extract::State, http::HeaderMap};
use vulcan_api::{ImagePrune, ImagesRemoved, Problem};

use super::{object::Shape, parameters::Parameters, workload_run::read};
use crate::{app::Refused, service::Handle};

const SHAPE: Shape = Shape {
    bytes_max: 1024,
    allowed,
    secret: "",
};

/// Removes what nobody needs: blobs and layers without an image, results of build steps, images without a name.
///
/// With `all` also every image that no instance uses and no default of a runtime names.
#[utoipa::path(
    post,
    path = "/v1/images/prune",
    operation_id = "image_prune",
    tag = "images",
    request_body = ImagePrune,
    responses(
        (status = 200, description = "What is gone", body = ImagesRemoved),
        (status = "4XX", description = "It was refused", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "The node does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn handle(
    State(handle): State<Handle>,
    parameters: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ImagesRemoved>, Refused> {
    parameters.only(&[])?;
    let request = read(&handle, &headers, body).await?;
    let prune: ImagePrune = SHAPE.read(&request.body)?;
    handle.service.image_prune(prune.all).await.map(Json)
}

fn allowed(field: &str) -> String {
    match field {
        "all" => "true or false".to_owned(),
        _ => "an object with all, or an empty one".to_owned(),
    }
}
