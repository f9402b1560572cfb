//! The table of routes.

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    http::Method,
    middleware,
    response::{IntoResponse, Response},
};
use utoipa_axum::{router::OpenApiRouter, routes};
use vulcan_api::ProblemKind;

use super::{
    backend_list, benchmark_begin, benchmark_cancel, benchmark_get, benchmark_list, docs_page, health,
    image_bootstrap, image_build, image_export, image_get, image_import, image_list, image_prune, image_pull,
    image_remove, metrics_text, node_get, node_list, openapi, problem_page,
    request::{self, Requests},
    stats_get, workload_get, workload_kill, workload_list, workload_logs, workload_run, workload_submit,
};
use crate::{app::Refused, service::Handle};

/// Returns all routes of the HTTP API, backed by `handle`. Serve it with [`crate::serve`].
pub fn router(handle: &Handle) -> Router {
    let requests = Requests::new(
        Arc::clone(&handle.service.shared.metrics),
        handle.service.random(),
        handle.service.options.public_hosts.clone(),
    );
    let (router, _) = api().split_for_parts();
    router
        .merge(pages())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(Arc::new(requests), request::wrap))
        .with_state(handle.clone())
}

/// What openapi.json describes.
pub(super) fn api() -> OpenApiRouter<Handle> {
    OpenApiRouter::with_openapi(openapi::info())
        .routes(routes!(workload_list::handle, workload_run::handle))
        .routes(routes!(workload_submit::handle))
        .routes(routes!(workload_get::handle, workload_kill::handle))
        .routes(routes!(workload_logs::handle))
        .routes(routes!(backend_list::handle))
        .routes(routes!(node_list::handle))
        .routes(routes!(node_get::handle))
        .routes(routes!(image_list::handle))
        .routes(routes!(image_get::handle, image_remove::handle))
        .routes(routes!(image_export::handle))
        .routes(routes!(image_prune::handle))
        .routes(routes!(image_pull::handle))
        .routes(routes!(image_bootstrap::handle))
        .routes(routes!(image_build::handle))
        .routes(routes!(image_import::handle))
        .routes(routes!(benchmark_list::handle, benchmark_begin::handle))
        .routes(routes!(benchmark_get::handle, benchmark_cancel::handle))
        .routes(routes!(stats_get::handle))
        .routes(routes!(metrics_text::handle))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
}

/// What people read.
fn pages() -> Router<Handle> {
    use axum::routing::get;
    Router::new()
        .route("/openapi.json", get(openapi::document))
        .route("/docs", get(docs_page::handle))
        .route("/problems/{slug}", get(problem_page::handle))
}

async fn not_found(request: Request) -> Response {
    let path: String = request.uri().path().chars().take(200).collect();
    Refused::new(
        ProblemKind::NotFound,
        format!("there is nothing at {path}; GET /docs lists what there is"),
    )
    .into_response()
}

async fn method_not_allowed(method: Method, request: Request) -> Response {
    let path: String = request.uri().path().chars().take(200).collect();
    let method: String = method.as_str().chars().take(20).collect();
    Refused::new(
        ProblemKind::MethodNotAllowed,
        format!("{path} does not take {method}; the Allow header names what it takes"),
    )
    .into_response()
}
