//! `vulcan benchmark show`, and how every benchmark is shown.

use std::path::Path;

use vulcan_api::Benchmark;

use super::{args::ShowArgs, html, tables};
use crate::{
    commands::Context,
    failure::{CommandResult, Exit, Failure},
    terminal::Paint,
};

pub(super) async fn run(context: &Context, args: &ShowArgs) -> CommandResult {
    let record = args.source.read(context).await?;
    show(context, &record, args.html.as_deref())?;
    Ok(Exit::OK)
}

/// Prints a benchmark, and writes the report where that was asked.
pub(super) fn show(context: &Context, record: &Benchmark, html: Option<&Path>) -> Result<(), Failure> {
    if context.global.json {
        context.terminal.print_json(record)?;
    } else {
        tables::print(context.terminal, record)?;
    }
    if let Some(path) = html {
        let action = format!("write the report to {}", path.display());
        std::fs::write(path, html::page(record))
            .map_err(|error| Failure::from_error(Exit::USAGE, &action, &error))?;
        context
            .terminal
            .err_line(&format!("report: {}", path.display()), Paint::Dim, true);
    }
    Ok(())
}

/// A benchmark with a row of every kind.
#[cfg(test)]
pub(super) fn example() -> Benchmark {
    let spread = |p50: f64| serde_json::json!({"samples": 100, "min_ms": p50 / 2.0, "p50_ms": p50, "p99_ms": p50 * 2.0});
    let start = |start: &str, p50: f64| {
        serde_json::json!({
            "isolation": "sandbox", "runtime": "python", "work": "noop", "start": start, "total_ms": spread(p50),
            "start_ms": spread(p50 / 4.0), "run_ms": spread(p50 / 2.0),
            "shares": {"queued_ms": p50 / 8.0, "start_ms": p50 / 4.0, "run_ms": p50 / 2.0, "rest_ms": p50 / 8.0},
            "cpu_ms": 11.5, "mem_peak_mb": 8.25, "started_otherwise": 0, "failed": 0
        })
    };
    serde_json::from_value(serde_json::json!({
        "id": "bm_01JKQX7V8MZRN3B4HTGFWDCS9E", "status": "completed", "spec": {}, "progress": {"done": 9, "total": 9, "step": ""},
        "created_at": "2026-11-22T10:00:00.000Z", "finished_at": "2026-11-22T10:01:00.000Z",
        "environment": {
            "node": "newt", "cpu": "<Abacus> & Sons", "cpus": 2, "memory_mb": 4096, "kernel": "6.1",
            "versions": {"vulcan": "0.1.0", "python3": "Python 3.11.2"}
        },
        "absent": [{"isolation": "microvm", "reason": "no node offers it"}],
        "starts": [start("cold", 16.0), start("warm", 0.5), {
            "isolation": "sandbox", "runtime": "python", "work": "noop", "start": "forked", "total_ms": null,
            "start_ms": null, "run_ms": null, "shares": null, "cpu_ms": null, "mem_peak_mb": null,
            "started_otherwise": 6, "failed": 0, "note": "not offered: no workload was started forked"
        }],
        "rates": [{
            "isolation": "sandbox", "runtime": "python", "start": "warm", "concurrency": 16, "seconds": 2.0,
            "completed": 4000, "started_so": 3990, "per_second": 2000.0, "total_ms": spread(7.5), "failed": 1,
            "note": "the queue is full"
        }],
        "memory": [{
            "isolation": "sandbox", "runtime": "python",
            "footprint": {"pss_bytes": 8_388_608, "private_bytes": 6_291_456, "processes": 2}
        }],
        "floors": [
            {"command": "python", "isolation": "sandbox", "text": "python3 -c pass", "total_ms": spread(11.0)},
            {"command": "bubblewrap", "isolation": "sandbox", "text": "bubblewrap", "total_ms": null,
             "note": "there is no bwrap on the node: install Debian's package bubblewrap"}
        ]
    }))
    .expect("the example is a record")
}
