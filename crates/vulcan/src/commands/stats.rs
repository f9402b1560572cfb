//! `vulcan stats`: the platform at a glance.

use std::time::Duration;

use vulcan_api::Stats;

use super::Context;
use crate::{
    failure::{CommandResult, Exit, Failure},
    server,
    terminal::{Table, fields},
    units::millis_for_people,
};

pub(super) async fn run(context: &Context) -> CommandResult {
    let client = server::named_or_default(context.global.server.as_ref())?;
    let stats = client
        .stats()
        .await
        .map_err(|error| Failure::client("show the counts", &error))?;
    if context.global.json {
        context.terminal.print_json(&stats)?;
    } else {
        context.terminal.print_table(table(&stats))?;
    }
    Ok(Exit::OK)
}

fn table(stats: &Stats) -> Table {
    let counts = &stats.workloads;
    let spread = |p50: Option<f64>, p99: Option<f64>| {
        Some(format!(
            "{} median, {} p99",
            millis_for_people(p50?),
            millis_for_people(p99?)
        ))
    };
    let up = Duration::from_secs(stats.uptime_s);
    fields([
        ("version", Some(stats.version.clone())),
        ("up", Some(format!("{up:?}"))),
        ("nodes ready", Some(stats.nodes_ready.to_string())),
        ("pending", Some(counts.pending.to_string())),
        ("running", Some(counts.running.to_string())),
        ("completed", Some(counts.completed.to_string())),
        ("failed", Some(counts.failed.to_string())),
        ("killed", Some(counts.killed.to_string())),
        ("timed out", Some(counts.timed_out.to_string())),
        ("last minute", Some(stats.finished_last_minute.to_string())),
        ("starting", spread(stats.start_ms_p50, stats.start_ms_p99)),
        ("running took", spread(stats.run_ms_p50, stats.run_ms_p99)),
    ])
}
