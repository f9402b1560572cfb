//! `POST /v1/images/bootstrap`.

use axum::{body::Body, extract::State, http::HeaderMap, response::Response};
use vulcan_api::{ImageBootstrap, ImageEvent, Problem};
use vulcan_bus::ImageMaking;

use super::{image_events, object::Shape, parameters::Parameters, workload_run::read};
use crate::{app::Refused, service::Handle};

const SHAPE: Shape = Shape {
    bytes_max: 16 * 1024,
    allowed,
    secret: "",
};

/// Makes the platform's own images out of Debian packages: what the runtimes stand on where no image is named.
///
/// Each line of the answer is an event; the last one is `done` or `failed`. Lines may be empty, as a sign of life.
#[utoipa::path(
    post,
    path = "/v1/images/bootstrap",
    operation_id = "image_bootstrap",
    tag = "images",
    request_body = ImageBootstrap,
    responses(
        (status = 200, description = "It has begun: one event per line", body = ImageEvent, content_type = "application/x-ndjson"),
        (status = "4XX", description = "It was refused, or failed before anything could be told", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "The node does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn handle(
    State(handle): State<Handle>,
    parameters: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    parameters.only(&[])?;
    let request = read(&handle, &headers, body).await?;
    let ImageBootstrap { names } = SHAPE.read(&request.body)?;
    let how = ImageMaking::Bootstrap { names };
    Ok(image_events::answer(handle.service.image_make(how, None).await?))
}

fn allowed(field: &str) -> String {
    match field.split('[').next().unwrap_or(field) {
        "names" => "a list of names, as vulcan/python; an empty one is all of them".to_owned(),
        _ => "an object with names, or an empty one".to_owned(),
    }
}
