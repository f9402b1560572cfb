//! `POST /v1/images/import`.

use axum::{body::Body, extract::State, http::HeaderMap, response::Response};
use vulcan_api::{ImageEvent, Problem};
use vulcan_bus::ImageMaking;

use super::{image_events, image_upload, parameters::Parameters};
use crate::{app::Refused, service::Handle};

/// Takes in an image out of an archive: an OCI layout, or what `docker save` writes; with gzip or without.
///
/// Each line of the answer is an event; the last one is `done` or `failed`. Lines may be empty, as a sign of life. When the
/// caller goes away, nothing of it is kept.
#[utoipa::path(
    post,
    path = "/v1/images/import",
    operation_id = "image_import",
    tag = "images",
    params(("name" = Option<String>, Query, description = "What it is to be called; the names that the archive has where it is left out")),
    request_body(content = Vec<u8>, content_type = "application/x-tar", description = "The archive"),
    responses(
        (status = 200, description = "It has begun: one event per line", body = ImageEvent, content_type = "application/x-ndjson"),
        (status = "4XX", description = "It was refused, or failed before anything could be told", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "The node does not answer, or has no room", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn handle(
    State(handle): State<Handle>,
    parameters: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let name = parameters.only(&["name"])?.image_name("name")?;
    let upload = image_upload::begin(&handle, &headers, body)?;
    let how = ImageMaking::Import {
        name,
        archive: upload.pieces,
    };
    let making = handle.service.image_make(how, Some(upload.fault)).await?;
    Ok(image_events::answer(making))
}
