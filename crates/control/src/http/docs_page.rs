//! `GET /docs`: one page that renders /openapi.json, with nothing from anywhere else.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};

const PAGE: &str = include_str!("docs.html");
/// Nothing is loaded from other servers, and the page can be framed by none.
const POLICY: &str = "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Returns the page.
pub(super) async fn handle() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, PAGE).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_loads_nothing_from_elsewhere() {
        for sign in ["http://", "https://", "//cdn", "@import", " src=", "<link"] {
            assert!(!PAGE.contains(sign), "{sign}");
        }
    }
}
