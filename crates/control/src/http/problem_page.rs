//! `GET /problems/{slug}`: the page that a problem's type leads to.

use axum::{
    extract::Path,
    http::header,
    response::{IntoResponse, Response},
};
use vulcan_api::ProblemKind;

use crate::app::Refused;

macro_rules! pages {
    ($($variant:ident = $slug:literal;)+) => {
        /// Returns the text of a kind's page, in Markdown.
        pub(super) const fn page(kind: ProblemKind) -> &'static str {
            match kind {
                $(ProblemKind::$variant => include_str!(concat!("../../../../docs/problems/", $slug, ".md")),)+
            }
        }
    };
}

pages! {
    MalformedBody = "malformed-body";
    InvalidParameter = "invalid-parameter";
    InvalidId = "invalid-id";
    InvalidCursor = "invalid-cursor";
    NotFound = "not-found";
    WorkloadNotFound = "workload-not-found";
    BenchmarkNotFound = "benchmark-not-found";
    ImageNotFound = "image-not-found";
    ImageInUse = "image-in-use";
    ImageInvalid = "image-invalid";
    ImagePlatform = "image-platform";
    ImageBuildFailed = "image-build-failed";
    ImageUnauthorized = "image-unauthorized";
    ImageUnreachable = "image-unreachable";
    ImageStorageFull = "image-storage-full";
    MethodNotAllowed = "method-not-allowed";
    NotAcceptable = "not-acceptable";
    RequestTimeout = "request-timeout";
    IdempotencyConflict = "idempotency-conflict";
    BenchmarkRunning = "benchmark-running";
    BodyTooLarge = "body-too-large";
    UnsupportedMediaType = "unsupported-media-type";
    InvalidField = "invalid-field";
    LimitExceeded = "limit-exceeded";
    InvalidArchive = "invalid-archive";
    IsolationUnavailable = "isolation-unavailable";
    NetworkUnavailable = "network-unavailable";
    Overloaded = "overloaded";
    ShuttingDown = "shutting-down";
    StorageUnavailable = "storage-unavailable";
    Internal = "internal";
}

/// Returns the page as Markdown: it reads well in a terminal and in a browser alike.
pub(super) async fn handle(Path(slug): Path<String>) -> Result<Response, Refused> {
    let kind = ProblemKind::ALL
        .iter()
        .find(|kind| kind.slug() == slug)
        .ok_or_else(|| {
            let slug: String = slug.chars().take(100).collect();
            Refused::new(
                ProblemKind::NotFound,
                format!("there is no kind of problem named '{slug}'"),
            )
        })?;
    let headers = [
        (header::CONTENT_TYPE, "text/markdown; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, page(*kind)).into_response())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;

    #[test]
    fn each_page_is_that_of_its_kind() {
        for kind in ProblemKind::ALL {
            let first = page(*kind).lines().next().unwrap_or_default();
            assert_eq!(first, format!("# {}", kind.title()), "{}", kind.slug());
            assert!(
                page(*kind).contains(&format!("\"type\": \"/problems/{}\"", kind.slug())),
                "{}",
                kind.slug()
            );
            assert!(
                page(*kind).contains(&format!("\"status\": {}", kind.status())),
                "{}",
                kind.slug()
            );
        }
    }

    #[test]
    fn each_file_is_the_page_of_a_kind() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/problems");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "README.md")
            .collect();
        let kinds: BTreeSet<String> = ProblemKind::ALL
            .iter()
            .map(|kind| format!("{}.md", kind.slug()))
            .collect();
        assert_eq!(files, kinds);
    }
}
