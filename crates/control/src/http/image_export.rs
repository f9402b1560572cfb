//! `GET /v1/images/{image}/export`.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::Stream;
use vulcan_api::{ImageArchive, Problem};

use super::{
    image_upload::TAR,
    parameters::{Parameters, Reference, invalid},
};
use crate::{
    app::{Exporting, Refused},
    service::Handle,
};

/// Sends an image as a tar archive: an OCI layout, or what `docker load` reads.
///
/// A failure in the middle breaks the connection off: an archive that ends in order is whole.
#[utoipa::path(
    get,
    path = "/v1/images/{image}/export",
    operation_id = "image_export",
    tag = "images",
    params(
        ("image" = String, Path, description = "Its name, with every / and : percent-encoded, or its digest as sha256:…, of at least 12 digits"),
        ("archive" = inline(Option<ImageArchive>), Query, description = "The shape of the archive; oci where it is left out"),
    ),
    responses(
        (status = 200, description = "The archive", body = Vec<u8>, content_type = "application/x-tar"),
        (status = "4XX", description = "There is none, or a parameter cannot be used", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "The node does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn handle(
    State(handle): State<Handle>,
    Reference(image): Reference,
    parameters: Parameters,
) -> Result<Response, Refused> {
    let parameters = parameters.only(&["archive"])?;
    let archive = match parameters.text("archive") {
        None | Some("oci") => ImageArchive::Oci,
        Some("docker") => ImageArchive::Docker,
        Some(other) => return Err(invalid("archive", Some(other), "oci or docker")),
    };
    let exporting = handle.service.image_export(image, archive).await?;
    let mut response = Body::from_stream(stream(exporting)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(TAR));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Breaks the answer off, so that its reader does not take it for whole.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
struct Broken {
    reason: String,
}

fn stream(exporting: Exporting) -> impl Stream<Item = Result<Bytes, Broken>> {
    futures::stream::unfold(Some(exporting), |exporting| async move {
        let mut exporting = exporting?;
        match exporting.next().await? {
            Ok(bytes) => Some((Ok(bytes), Some(exporting))),
            Err(problem) => {
                tracing::warn!(error = problem.detail, "image could not be sent whole");
                let reason = problem.detail;
                Some((Err(Broken { reason }), None))
            }
        }
    })
}
