//! `vulcan completions`: prints what a shell needs to complete the command line.

use clap::CommandFactory;

use super::Context;
use crate::{
    cli::{Cli, CompletionsArgs},
    failure::{CommandResult, Exit},
};

pub(super) fn run(context: &Context, args: &CompletionsArgs) -> CommandResult {
    // Into memory first: the generator panics where a pipe is closed.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "vulcan", &mut text);
    context.terminal.print(&String::from_utf8_lossy(&text))?;
    Ok(Exit::OK)
}
