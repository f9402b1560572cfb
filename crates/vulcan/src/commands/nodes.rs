//! `vulcan nodes`: lists the machines that run workloads.

use vulcan_api::{Clock, NodeInfo, SystemClock, Timestamp};

use super::{Context, ls::age};
use crate::{
    failure::{CommandResult, Exit, Failure},
    server,
    terminal::Table,
};

pub(super) async fn run(context: &Context) -> CommandResult {
    let client = server::named_or_default(context.global.server.as_ref())?;
    let list = client
        .nodes()
        .await
        .map_err(|error| Failure::client("list the nodes", &error))?;
    if context.global.json {
        context.terminal.print_json(&list)?;
    } else {
        context
            .terminal
            .print_table(table(&list.nodes, SystemClock.now()))?;
    }
    Ok(Exit::OK)
}

fn table(nodes: &[NodeInfo], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        "NODE",
        "READY",
        "INSTANCES",
        "MEMORY",
        "CPUS",
        "KERNEL",
        "VERSION",
        "SEEN",
    ]);
    for node in nodes {
        let capacity = &node.capacity;
        table.row([
            node.name.to_string(),
            if node.ready { "yes" } else { "no" }.to_owned(),
            format!("{} of {}", capacity.instances, capacity.instances_max),
            format!("{} of {} MiB", capacity.mem_used_mb, capacity.mem_mb),
            capacity.cpus.to_string(),
            node.kernel.clone(),
            node.version.clone(),
            age(node.seen_at, now),
        ]);
    }
    table
}
