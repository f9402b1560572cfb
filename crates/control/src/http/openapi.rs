//! The description of the API, made from the handlers and the shapes of the api crate.

use std::sync::OnceLock;

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use utoipa::openapi::{InfoBuilder, License, OpenApi, OpenApiBuilder, Tag};

use super::routes;

/// Returns the OpenAPI 3.1 document as indented JSON, with a line end.
///
/// # Panics
///
/// Never: the document has string keys.
#[must_use]
pub fn openapi_json() -> String {
    let (_, document) = routes::api().split_for_parts();
    let mut text = serde_json::to_string_pretty(&document).expect("the document has string keys");
    text.push('\n');
    text
}

/// What the document says about the whole.
pub(super) fn info() -> OpenApi {
    let mut license = License::new("MIT OR Apache-2.0");
    license.identifier = Some("MIT OR Apache-2.0".to_owned());
    let description = "Run code at the isolation you choose. Every refusal is a problem document (RFC 9457) whose type is a \
                       page of this server.";
    let tag = |name: &str, description: &str| {
        let mut tag = Tag::new(name);
        tag.description = Some(description.to_owned());
        tag
    };
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Vulcan")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(description))
                .license(Some(license))
                .build(),
        )
        .tags(Some([
            tag("workloads", "Run code, and see what became of it"),
            tag(
                "images",
                "What workloads stand on: pull, build, import and export images",
            ),
            tag("benchmarks", "Measure what each class of isolation costs here"),
            tag("platform", "What the platform has and how it does"),
        ]))
        .build()
}

/// `GET /openapi.json`.
pub(super) async fn document() -> Response {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    let text = DOCUMENT.get_or_init(openapi_json).as_str();
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}
