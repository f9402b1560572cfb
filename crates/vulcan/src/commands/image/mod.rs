//! `vulcan image`: what workloads stand on.

mod args;
mod context;
mod follow;
mod ignore;
mod list;
mod make;
mod remove;
mod send;

pub(crate) use args::ImageArgs;

use args::ImageCommand;

use super::Context;
use crate::failure::CommandResult;

pub(super) async fn run(context: &Context, args: &ImageArgs) -> CommandResult {
    match &args.command {
        ImageCommand::Ls => list::list(context).await,
        ImageCommand::Inspect(args) => list::inspect(context, args).await,
        ImageCommand::Pull(args) => make::pull(context, args).await,
        ImageCommand::Bootstrap(args) => make::bootstrap(context, args).await,
        ImageCommand::Build(args) => make::build(context, args).await,
        ImageCommand::Import(args) => make::import(context, args).await,
        ImageCommand::Export(args) => send::export(context, args).await,
        ImageCommand::Rm(args) => remove::remove(context, args).await,
        ImageCommand::Prune(args) => remove::prune(context, args).await,
    }
}
