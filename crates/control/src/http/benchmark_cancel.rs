//! `DELETE /v1/benchmarks/{id}`.

use std::sync::Arc;

use axum::{Json, extract::State};
use vulcan_api::{Benchmark, BenchmarkId, Problem};

use super::parameters::{Id, Parameters};
use crate::{app::Refused, service::Handle};

/// Ends a benchmark, and answers with its record, which keeps what was measured; one that is over stays as it is.
#[utoipa::path(
    delete,
    path = "/v1/benchmarks/{id}",
    operation_id = "benchmark_cancel",
    tag = "benchmarks",
    params(("id" = String, Path, description = "The benchmark")),
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
    parameters.only(&[])?;
    handle.service.benchmark_cancel(id).await.map(Json)
}
