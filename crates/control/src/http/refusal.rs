//! Refusals as `application/problem+json` (RFC 9457).

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use vulcan_api::Problem;

use crate::app::Refused;

/// The media type of a problem.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        respond(self.into_problem())
    }
}

/// Renders a problem. The document stays with the response, so that the request's id can be put into it.
fn respond(problem: Problem) -> Response {
    let mut response = render(&problem);
    response.extensions_mut().insert(Box::new(problem));
    response
}

fn render(problem: &Problem) -> Response {
    let body = serde_json::to_vec(problem).expect("a problem has string keys");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() =
        StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = problem.retry_after_s {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Puts the request's id into a response that is a problem.
pub(super) fn with_instance(mut response: Response, request_id: &str) -> Response {
    let Some(mut problem) = response.extensions_mut().remove::<Box<Problem>>() else {
        return response;
    };
    problem.instance = Some(request_id.to_owned());
    let mut rendered = render(&problem);
    // What the router added, `Allow` for example, stays.
    for (name, value) in response.headers() {
        if !rendered.headers().contains_key(name) && name != header::CONTENT_LENGTH {
            rendered.headers_mut().insert(name.clone(), value.clone());
        }
    }
    rendered
}
