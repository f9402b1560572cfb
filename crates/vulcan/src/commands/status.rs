//! `vulcan status`: shows one workload.

use vulcan_api::{StartKind, Workload};

use super::Context;
use crate::{
    cli::StatusArgs,
    failure::{CommandResult, Exit, Failure},
    server,
    terminal::{Table, fields},
    units::millis_for_people,
};

/// The most characters of an output in the table; `--json` shows all of it.
const OUTPUT_CHARS_MAX: usize = 200;

pub(super) async fn run(context: &Context, args: &StatusArgs) -> CommandResult {
    let client = server::named_or_default(context.global.server.as_ref())?;
    let workload = client
        .get(args.id)
        .await
        .map_err(|error| Failure::client(&format!("show {}", args.id), &error))?;
    if context.global.json {
        context.terminal.print_json(&workload)?;
    } else {
        context.terminal.print_table(table(&workload))?;
    }
    Ok(Exit::OK)
}

fn table(workload: &Workload) -> Table {
    let millis = |value: Option<f64>| value.map(millis_for_people);
    let resources = &workload.resources;
    let isolation = workload
        .isolation_used
        .map_or_else(|| workload.isolation.to_string(), |class| class.to_string());
    let labels: Vec<String> = workload
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    fields([
        ("id", Some(workload.id.to_string())),
        ("status", Some(workload.status.to_string())),
        ("runtime", Some(workload.runtime.to_string())),
        ("isolation", Some(isolation)),
        ("reason", workload.isolation_reason.clone()),
        ("node", workload.node.as_ref().map(ToString::to_string)),
        ("exit code", workload.exit_code.map(|code| code.to_string())),
        (
            "error",
            workload.error.as_ref().map(|error| error.message.clone()),
        ),
        (
            "output",
            workload
                .output
                .as_ref()
                .map(|output| shortened(&output.to_string())),
        ),
        (
            "limits",
            Some(format!(
                "{} cpus, {} MiB memory, {} MiB disk, {} pids, {} s",
                resources.cpus, resources.mem_mb, resources.disk_mb, resources.pids, resources.timeout_s
            )),
        ),
        (
            "used",
            workload.usage.map(|usage| {
                let memory = usage
                    .mem_peak_mb
                    .map(|peak| format!(", {peak:.1} MiB at most"))
                    .unwrap_or_default();
                format!("{} processor{memory}", millis_for_people(usage.cpu_ms))
            }),
        ),
        ("start", workload.start.map(StartKind::as_str).map(str::to_owned)),
        ("queued", millis(workload.queued_ms)),
        ("starting", millis(workload.start_ms)),
        ("running", millis(workload.run_ms)),
        ("in all", millis(workload.duration_ms)),
        ("created", Some(workload.created_at.to_string())),
        ("started", workload.started_at.map(|time| time.to_string())),
        ("finished", workload.finished_at.map(|time| time.to_string())),
        (
            "log",
            workload.logs_truncated.then(|| "cut at its limit".to_owned()),
        ),
        ("labels", (!labels.is_empty()).then(|| labels.join(", "))),
    ])
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= OUTPUT_CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(OUTPUT_CHARS_MAX).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_shows_what_is_known_of_it() {
        let workload: Workload = serde_json::from_value(serde_json::json!({
            "id": "wl_01JKQX7V8MZRN3B4HTGFWDCS9E", "project": "default", "status": "failed", "isolation": "auto",
            "isolation_used": "sandbox", "isolation_reason": "auto: the only class here", "runtime": "python",
            "node": "newt", "input_digest": "", "output": null, "exit_code": 3,
            "error": {"code": "exit_code", "message": "exit code \u{1b}3"},
            "resources": {"cpus": 1.0, "mem_mb": 128, "disk_mb": 64, "pids": 128, "timeout_s": 30.0},
            "network": "none", "usage": {"cpu_ms": 12.34, "mem_peak_mb": 9.96}, "start": "cold", "queued_ms": 0.12,
            "start_ms": 3.0, "run_ms": 1234.0, "duration_ms": 1237.1, "created_at": "2026-11-22T10:00:00.000Z",
            "started_at": null, "finished_at": null, "labels": {"a": "b"}
        }))
        .unwrap();
        insta::assert_snapshot!(table(&workload).render(None, false), @r"
        id         wl_01JKQX7V8MZRN3B4HTGFWDCS9E
        status     failed
        runtime    python
        isolation  sandbox
        reason     auto: the only class here
        node       newt
        exit code  3
        error      exit code ␛3
        limits     1 cpus, 128 MiB memory, 64 MiB disk, 128 pids, 30 s
        used       12 ms processor, 10.0 MiB at most
        start      cold
        queued     0.1 ms
        starting   3.0 ms
        running    1.2 s
        in all     1.2 s
        created    2026-11-22T10:00:00.000Z
        labels     a=b
        ");
    }
}
