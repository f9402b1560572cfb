//! `vulcan kill`: ends workloads.

use vulcan_api::Status;

use super::Context;
use crate::{
    cli::KillArgs,
    failure::{CommandResult, Exit, Failure},
    server,
    terminal::Paint,
};

pub(super) async fn run(context: &Context, args: &KillArgs) -> CommandResult {
    let client = server::named_or_default(context.global.server.as_ref())?;
    let terminal = context.terminal;
    let mut worst = Exit::OK;
    for id in &args.ids {
        match client.kill(*id).await {
            Ok(workload) if context.global.json => terminal.print_json(&workload)?,
            Ok(workload) => match workload.status {
                Status::Killed => terminal.print(&format!("{id} killed\n"))?,
                Status::Pending | Status::Running => terminal.print(&format!("{id} is being killed\n"))?,
                Status::Completed | Status::Failed | Status::TimedOut => {
                    terminal.print(&format!("{id} was over: {}\n", workload.status))?;
                }
            },
            // The others are killed all the same.
            Err(error) => {
                let failure = Failure::client(&format!("kill {id}"), &error);
                terminal.err_line(failure.text().trim_end(), Paint::Plain, true);
                worst = failure.exit();
            }
        }
    }
    Ok(worst)
}
