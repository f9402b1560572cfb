//! `vulcan ls`: lists workloads, newest first.

use vulcan_api::{Clock, SystemClock, Timestamp, Workload, WorkloadList};
use vulcan_client::ListQuery;

use super::Context;
use crate::{
    cli::LsArgs,
    failure::{CommandResult, Exit, Failure},
    server,
    terminal::{Paint, Table},
    units::millis_for_people,
};

/// The largest page that is asked for.
const PAGE_LEN_MAX: u32 = 100;

pub(super) async fn run(context: &Context, args: &LsArgs) -> CommandResult {
    let client = server::named_or_default(context.global.server.as_ref())?;
    let mut left = if args.all { u32::MAX } else { args.limit };
    let mut query = ListQuery {
        status: args.status,
        isolation: args.isolation,
        runtime: args.runtime,
        limit: None,
        cursor: None,
    };
    let mut list = WorkloadList {
        workloads: Vec::new(),
        next_cursor: None,
    };
    while left > 0 {
        query.limit = Some(left.min(PAGE_LEN_MAX));
        let page = client
            .list(&query)
            .await
            .map_err(|error| Failure::client("list the workloads", &error))?;
        left = left.saturating_sub(u32::try_from(page.workloads.len()).unwrap_or(u32::MAX));
        list.workloads.extend(page.workloads);
        list.next_cursor = page.next_cursor;
        if list.next_cursor.is_none() {
            break;
        }
        query.cursor.clone_from(&list.next_cursor);
    }
    show(context, &list)?;
    Ok(Exit::OK)
}

fn show(context: &Context, list: &WorkloadList) -> std::io::Result<()> {
    if context.global.json {
        return context.terminal.print_json(list);
    }
    context
        .terminal
        .print_table(table(&list.workloads, SystemClock.now()))?;
    if list.next_cursor.is_some() && context.terminal.is_stderr {
        let hint = "there are more: --limit N, or --all";
        context.terminal.err_line(hint, Paint::Dim, true);
    }
    Ok(())
}

fn table(workloads: &[Workload], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        "ID",
        "STATUS",
        "RUNTIME",
        "ISOLATION",
        "EXIT",
        "DURATION",
        "CREATED",
    ]);
    for workload in workloads {
        let isolation = workload
            .isolation_used
            .map_or_else(|| workload.isolation.to_string(), |class| class.to_string());
        table.row([
            workload.id.to_string(),
            workload.status.to_string(),
            workload.runtime.to_string(),
            isolation,
            workload
                .exit_code
                .map(|code| code.to_string())
                .unwrap_or_default(),
            workload.duration_ms.map(millis_for_people).unwrap_or_default(),
            age(workload.created_at, now),
        ]);
    }
    table
}

/// Says for people how long ago a time is.
pub(super) fn age(time: Timestamp, now: Timestamp) -> String {
    let seconds = now.millis_since(time) / 1_000;
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} min ago", seconds / 60),
        7_200..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_are_rows() {
        let workload: Workload = serde_json::from_value(serde_json::json!({
            "id": "wl_01JKQX7V8MZRN3B4HTGFWDCS9E", "project": "default", "status": "completed", "isolation": "auto",
            "isolation_used": "sandbox", "isolation_reason": null, "runtime": "python", "node": "newt",
            "input_digest": "", "output": null, "exit_code": 0, "error": null,
            "resources": {"cpus": 1.0, "mem_mb": 128, "disk_mb": 64, "pids": 128, "timeout_s": 30.0},
            "network": "none", "usage": null, "start": "cold", "queued_ms": null, "start_ms": null, "run_ms": null,
            "duration_ms": 23.4, "created_at": "2026-11-22T10:00:00.000Z", "started_at": null, "finished_at": null
        }))
        .unwrap();
        let now = Timestamp::from_millis(workload.created_at.as_millis() + 180_000);
        insta::assert_snapshot!(table(&[workload], now).render(None, false), @r"
        ID                             STATUS     RUNTIME  ISOLATION  EXIT  DURATION  CREATED
        wl_01JKQX7V8MZRN3B4HTGFWDCS9E  completed  python   sandbox    0     23 ms     3 min ago
        ");
    }
}
