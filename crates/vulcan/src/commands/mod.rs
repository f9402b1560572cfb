//! One file per command. Each asks, prints, and returns an exit code; none decides anything for the platform.

mod backends;
mod benchmark;
mod completions;
mod doctor;
mod image;
mod kill;
mod logs;
mod ls;
mod missing;
mod nodes;
mod run;
mod serve;
mod stats;
mod status;
mod wait;

pub(crate) use benchmark::BenchmarkArgs;
pub(crate) use image::ImageArgs;

use crate::{
    cli::{Cli, Command, Global},
    failure::CommandResult,
    terminal::Terminal,
};

/// What every command is given.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// What is the same for all commands.
    pub(crate) global: Global,
    /// Where to write.
    pub(crate) terminal: Terminal,
}

/// Runs the command.
///
/// # Errors
///
/// The command's [`crate::failure::Failure`].
pub(crate) async fn dispatch(cli: Cli) -> CommandResult {
    let context = Context {
        global: cli.global,
        terminal: Terminal::detect(),
    };
    match cli.command {
        Command::Run(args) => run::run(&context, &args).await,
        Command::Status(args) => status::run(&context, &args).await,
        Command::Logs(args) => logs::run(&context, &args).await,
        Command::Ls(args) => ls::run(&context, &args).await,
        Command::Wait(args) => wait::run(&context, &args).await,
        Command::Kill(args) => kill::run(&context, &args).await,
        Command::Nodes => nodes::run(&context).await,
        Command::Backends => backends::run(&context).await,
        Command::Benchmark(args) => benchmark::run(&context, &args).await,
        Command::Image(args) => image::run(&context, &args).await,
        Command::Stats => stats::run(&context).await,
        Command::Doctor(args) => doctor::run(&context, &args).await,
        Command::Serve(args) => serve::run(&context, &args).await,
        Command::Completions(args) => completions::run(&context, &args),
    }
}
