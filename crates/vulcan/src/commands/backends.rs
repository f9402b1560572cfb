//! `vulcan backends`: lists what can isolate, and whether it is ready.

use vulcan_api::{BackendInfo, Readiness};

use super::Context;
use crate::{
    failure::{CommandResult, Exit, Failure},
    server,
    terminal::Table,
};

pub(super) async fn run(context: &Context) -> CommandResult {
    let client = server::named_or_default(context.global.server.as_ref())?;
    let list = client
        .backends()
        .await
        .map_err(|error| Failure::client("list the backends", &error))?;
    if context.global.json {
        context.terminal.print_json(&list)?;
    } else {
        context.terminal.print_table(table(&list.backends))?;
    }
    Ok(Exit::OK)
}

fn table(backends: &[BackendInfo]) -> Table {
    let mut table = Table::new(&["ISOLATION", "NODE", "STATE", "RUNTIMES", "WHY"]);
    for backend in backends {
        let runtimes: Vec<&str> = backend
            .runtimes
            .iter()
            .filter(|info| info.available)
            .map(|info| info.runtime.as_str())
            .collect();
        table.row([
            backend.isolation.to_string(),
            backend.node.to_string(),
            state(&backend.readiness).to_owned(),
            runtimes.join(", "),
            reasons(&backend.readiness).join("; "),
        ]);
    }
    table
}

/// Returns one word for a readiness.
pub(super) const fn state(readiness: &Readiness) -> &'static str {
    match readiness {
        Readiness::Ready => "ready",
        Readiness::Degraded { .. } => "degraded",
        Readiness::Unfit { .. } => "unfit",
    }
}

/// Returns why it is not ready.
pub(super) fn reasons(readiness: &Readiness) -> &[String] {
    match readiness {
        Readiness::Ready => &[],
        Readiness::Degraded { reasons } | Readiness::Unfit { reasons } => reasons,
    }
}
