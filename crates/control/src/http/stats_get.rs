//! `GET /v1/stats`.

use axum::{Json, extract::State};
use vulcan_api::{Problem, Stats};

use super::parameters::Parameters;
use crate::{app::Refused, service::Handle};

/// Returns the platform at a glance.
#[utoipa::path(
    get,
    path = "/v1/stats",
    operation_id = "stats_get",
    tag = "platform",
    responses(
        (status = 200, description = "Counts and durations", body = Stats),
        (status = "5XX", description = "The platform cannot tell", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn handle(
    State(handle): State<Handle>,
    parameters: Parameters,
) -> Result<Json<Stats>, Refused> {
    parameters.only(&[])?;
    handle.service.stats().await.map(Json)
}
