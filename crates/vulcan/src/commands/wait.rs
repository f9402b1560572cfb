//! `vulcan wait`: waits for a workload, prints its output, and ends as it did.

use std::time::Duration;

use super::Context;
use crate::{
    cli::WaitArgs,
    failure::{CommandResult, Exit, Failure},
    live::Live,
    server,
};

/// Longer than any workload may run.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 86_400);

pub(super) async fn run(context: &Context, args: &WaitArgs) -> CommandResult {
    let client = server::named_or_default(context.global.server.as_ref())?;
    let live = Live::without_log(context.terminal, context.global.json);
    live.say(&format!("waiting for {}", args.id));
    let limit = args.timeout.unwrap_or(FOR_EVER);
    let workload = client
        .wait(args.id, limit)
        .await
        .map_err(|error| Failure::client(&format!("wait for {}", args.id), &error))?;
    if workload.status.is_final() {
        return Ok(live.finish(&workload)?);
    }
    drop(live);
    Err(Failure::new(
        Exit::TIMED_OUT,
        format!(
            "could not wait for the end of {}: it is {} after {limit:?}",
            args.id, workload.status
        ),
    )
    .hint("wait longer, or end it with `vulcan kill`"))
}
