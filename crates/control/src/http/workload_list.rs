//! `GET /v1/workloads`.

use axum::{Json, extract::State};
use vulcan_api::{Isolation, Problem, Runtime, Status, WorkloadList};

use super::parameters::Parameters;
use crate::{
    app::{ListQuery, Refused},
    service::Handle,
};

/// The most records of one page.
const LIMIT_MAX: u32 = 200;
/// The records of a page where the caller does not say.
const LIMIT_DEFAULT: u32 = 50;

/// Lists workloads, newest first.
#[utoipa::path(
    get,
    path = "/v1/workloads",
    operation_id = "workload_list",
    tag = "workloads",
    params(
        ("status" = Option<Status>, Query, description = "Only with this status"),
        ("isolation" = Option<Isolation>, Query, description = "Only with this class in use, or with `auto` asked for"),
        ("runtime" = Option<Runtime>, Query, description = "Only with this runtime"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Records of one page; 50 when left out"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "One page", body = WorkloadList),
        (status = "4XX", description = "A parameter cannot be used", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn handle(
    State(handle): State<Handle>,
    parameters: Parameters,
) -> Result<Json<WorkloadList>, Refused> {
    let parameters = parameters.only(&["status", "isolation", "runtime", "limit", "cursor"])?;
    let query = ListQuery {
        status: parameters.parsed("status")?,
        isolation: parameters.parsed("isolation")?,
        runtime: parameters.parsed("runtime")?,
        limit: parameters
            .number("limit", (1, LIMIT_MAX))?
            .unwrap_or(LIMIT_DEFAULT),
        cursor: parameters.text("cursor").map(str::to_owned),
    };
    handle.service.workload_list(query).await.map(Json)
}
