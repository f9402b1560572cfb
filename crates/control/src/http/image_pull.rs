//! `POST /v1/images/pull`.

use axum::{body::Body, extract::State, http::HeaderMap, response::Response};
use vulcan_api::{ImageEvent, ImagePull, Problem};
use vulcan_bus::ImageMaking;

use super::{image_events, object::Shape, parameters::Parameters, workload_run::read};
use crate::{app::Refused, service::Handle};

const SHAPE: Shape = Shape {
    bytes_max: 64 * 1024,
    allowed,
    secret: "credentials",
};

/// Pulls an image out of its registry, and tells how far it is.
///
/// One that is here already is looked up again: a tag may have moved. Each line of the answer is an event; the last one is
/// `done` or `failed`. Lines may be empty, as a sign of life. When the caller goes away, the pull ends, and a repetition
/// goes on where it was.
#[utoipa::path(
    post,
    path = "/v1/images/pull",
    operation_id = "image_pull",
    tag = "images",
    request_body = ImagePull,
    responses(
        (status = 200, description = "It has begun: one event per line", body = ImageEvent, content_type = "application/x-ndjson"),
        (status = "4XX", description = "It was refused, or failed before anything could be told", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "The registry or the node does not answer", body = Problem, content_type = "application/problem+json"),
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
    let pull: ImagePull = SHAPE.read(&request.body)?;
    let making = handle.service.image_make(ImageMaking::Pull(pull), None).await?;
    Ok(image_events::answer(making))
}

fn allowed(field: &str) -> String {
    match field.split('.').next().unwrap_or(field) {
        "image" => "the name of an image, [host[:port]/]repository[:tag][@sha256:digest]".to_owned(),
        "credentials" => "an object with username and password".to_owned(),
        _ => "an object with image, credentials; each at most once".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_repeated() {
        for body in [
            r#"{"image":"a","credentials":{"username":"u","password":["s3cret"]}}"#,
            r#"{"image":"a","credentials":["s3cret"]}"#,
            r#"{"image":"a","credentials":"s3cret"}"#,
            r#"{"image":"a","credentials":{"username":"u","s3cret":1}}"#,
        ] {
            let problem = SHAPE
                .read::<ImagePull>(body.as_bytes())
                .unwrap_err()
                .into_problem();
            assert_eq!(problem.slug(), "invalid-field");
            assert!(
                !serde_json::to_string(&problem).unwrap().contains("s3cret"),
                "{problem:?}"
            );
        }
    }
}
