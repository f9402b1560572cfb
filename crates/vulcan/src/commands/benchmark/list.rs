//! `vulcan benchmark ls`.

use vulcan_api::{BenchmarkList, BenchmarkSummary, Clock, SystemClock, Timestamp};

use crate::{
    commands::{Context, ls::age},
    failure::{CommandResult, Exit, Failure},
    server,
    terminal::Table,
    units::millis_for_people,
};

pub(super) async fn run(context: &Context) -> CommandResult {
    let client = server::named_or_default(context.global.server.as_ref())?;
    let list = client.benchmarks().await;
    let list = list.map_err(|error| Failure::client("list the benchmarks", &error))?;
    if context.global.json {
        context.terminal.print_json(&list)?;
    } else {
        context.terminal.print_table(table(&list, SystemClock.now()))?;
    }
    Ok(Exit::OK)
}

fn table(list: &BenchmarkList, now: Timestamp) -> Table {
    let mut table = Table::new(&["ID", "STATUS", "CLASSES", "SAMPLES", "VERSION", "TOOK", "BEGAN"]);
    for entry in &list.benchmarks {
        let classes: Vec<&str> = entry.classes.iter().map(|class| class.as_str()).collect();
        table.row([
            entry.id.to_string(),
            entry.status.to_string(),
            classes.join(", "),
            samples(entry),
            entry.version.clone().unwrap_or_default(),
            entry.finished_at.map(|end| took(entry, end)).unwrap_or_default(),
            age(entry.created_at, now),
        ]);
    }
    table
}

fn samples(entry: &BenchmarkSummary) -> String {
    let quick = if entry.spec.quick { " (quick)" } else { "" };
    format!("{}{quick}", entry.spec.samples())
}

/// A benchmark takes minutes: the millions of milliseconds that a double cannot hold exactly are years.
fn took(entry: &BenchmarkSummary, end: Timestamp) -> String {
    let seconds = std::time::Duration::from_millis(end.millis_since(entry.created_at)).as_secs_f64();
    millis_for_people(seconds * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn benchmarks_are_rows() {
        let list: BenchmarkList = serde_json::from_value(serde_json::json!({"benchmarks": [{
            "id": "bm_01JKQX7V8MZRN3B4HTGFWDCS9E", "status": "completed", "spec": {"quick": true},
            "created_at": "2026-11-22T10:00:00.000Z", "finished_at": "2026-11-22T10:00:42.000Z",
            "classes": ["isolate", "sandbox"], "version": "0.1.0"
        }]}))
        .unwrap();
        let now = Timestamp::from_millis(list.benchmarks[0].created_at.as_millis() + 180_000);
        insta::assert_snapshot!(table(&list, now).render(None, false), @r"
        ID                             STATUS     CLASSES           SAMPLES    VERSION  TOOK    BEGAN
        bm_01JKQX7V8MZRN3B4HTGFWDCS9E  completed  isolate, sandbox  5 (quick)  0.1.0    42.0 s  3 min ago
        ");
    }
}
