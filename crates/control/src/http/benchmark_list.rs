//! `GET /v1/benchmarks`.

use axum::{Json, extract::State};
use vulcan_api::{BenchmarkList, Problem};

use super::parameters::Parameters;
use crate::{app::Refused, service::Handle};

/// Lists the benchmarks that are kept, newest first: a hundred at most.
#[utoipa::path(
    get,
    path = "/v1/benchmarks",
    operation_id = "benchmark_list",
    tag = "benchmarks",
    responses(
        (status = 200, description = "One entry each", body = BenchmarkList),
        (status = "5XX", description = "The platform cannot tell", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn handle(
    State(handle): State<Handle>,
    parameters: Parameters,
) -> Result<Json<BenchmarkList>, Refused> {
    parameters.only(&[])?;
    handle.service.benchmark_list().await.map(Json)
}
