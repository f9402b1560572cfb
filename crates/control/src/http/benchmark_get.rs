//! `GET /v1/benchmarks/{id}`.

use std::sync::Arc;

use axum::{Json, extract::State};
use vulcan_api::{Benchmark, BenchmarkId, Problem};

use super::parameters::{Id, Parameters};
use crate::{app::Refused, service::Handle};

/// Returns one benchmark, with its progress while it runs; with `wait` once it is over, or as it is when the time is up.
#[utoipa::path(
    get,
    path = "/v1/benchmarks/{id}",
    operation_id = "benchmark_get",
    tag = "benchmarks",
    params(
        ("id" = String, Path, description = "The benchmark"),
        ("wait" = Option<String>, Query, description = "How long to wait for its end: `30s`, `500ms`; at most 60s"),
    ),
    responses(
        (status = 200, description = "Its record", body = Benchmark),
        (status = "4XX", description = "There is none, or the id is not one", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn handle(
    State(handle): State<Handle>,
    Id(id): Id<BenchmarkId>,
    parameters: Parameters,
) -> Result<Json<Arc<Benchmark>>, Refused> {
    let wait = parameters.only(&["wait"])?.wait("wait")?;
    match wait {
        Some(wait) => handle.service.benchmark_wait(id, wait).await.map(Json),
        None => handle.service.benchmark_get(id).await.map(Json),
    }
}
