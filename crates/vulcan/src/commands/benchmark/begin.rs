//! Measuring: begins a benchmark on a server, or in this process where there is none, and follows it to its end.

use std::time::Duration;

use vulcan_api::{Benchmark, BenchmarkId, BenchmarkSpec, BenchmarkStatus};
use vulcan_client::Client;

use super::{
    args::{BeginArgs, BenchmarkArgs, BenchmarkCommand},
    compare, list, show,
};
use crate::{
    commands::Context,
    embedded::Embedded,
    failure::{CommandResult, Exit, Failure},
    server,
    signals::Signals,
    terminal::{Bar, Paint},
};

/// How often the progress is asked for.
const POLL: Duration = Duration::from_millis(500);

/// Runs the command.
pub(in crate::commands) async fn run(context: &Context, args: &BenchmarkArgs) -> CommandResult {
    match &args.command {
        None => begin(context, &args.begin).await,
        Some(BenchmarkCommand::Ls) => list::run(context).await,
        Some(BenchmarkCommand::Show(args)) => show::run(context, args).await,
        Some(BenchmarkCommand::Compare(args)) => compare::run(context, args).await,
    }
}

async fn begin(context: &Context, args: &BeginArgs) -> CommandResult {
    let mut signals = Signals::listen()
        .map_err(|error| Failure::from_error(Exit::PLATFORM, "listen for signals", &error))?;
    let found = if args.embedded {
        None
    } else {
        server::named_or_found(context.global.server.as_ref()).await?
    };
    let record = match found {
        Some(client) => follow(context, &client, &args.spec(), &mut signals).await?,
        None => {
            let note = "no server: measured in this process, and kept only where --json or --html puts it";
            context.terminal.err_line(note, Paint::Dim, true);
            let embedded = Embedded::start().await?;
            let followed = follow(context, embedded.client(), &args.spec(), &mut signals).await;
            embedded.end().await;
            followed?
        }
    };
    show::show(context, &record, args.html.as_deref())?;
    exit(&record)
}

/// Follows a benchmark to its end. The first signal ends it, a second one leaves.
async fn follow(
    context: &Context,
    client: &Client,
    spec: &BenchmarkSpec,
    signals: &mut Signals,
) -> Result<Benchmark, Failure> {
    let begun = client.benchmark_begin(spec).await;
    let mut record = begun.map_err(|error| Failure::client("begin the benchmark", &error))?;
    let bar = Bar::start(context.terminal);
    let id = record.id;
    let mut is_cancelled = false;
    while !record.status.is_final() {
        if let Some(bar) = &bar {
            let progress = &record.progress;
            bar.show(progress.done, progress.total, &progress.step);
        }
        // Cancel-safe: an answer that is dropped is asked for again.
        tokio::select! {
            answer = client.benchmark_get(id, POLL) => record = answer.map_err(|error| lost(id, &error))?,
            name = signals.next() => {
                if is_cancelled {
                    return Err(left(name, id));
                }
                is_cancelled = true;
                record = client.benchmark_cancel(id).await.map_err(|error| lost(id, &error))?;
            }
        }
    }
    Ok(record)
}

fn exit(record: &Benchmark) -> CommandResult {
    match record.status {
        BenchmarkStatus::Completed | BenchmarkStatus::Running => Ok(Exit::OK),
        BenchmarkStatus::Cancelled => Ok(Exit::INTERRUPTED),
        BenchmarkStatus::Failed => {
            let reason = record.error.as_deref().unwrap_or("it failed");
            Err(Failure::new(
                Exit::PLATFORM,
                format!("could not complete {}: {reason}", record.id),
            ))
        }
    }
}

fn lost(id: BenchmarkId, error: &vulcan_client::ClientError) -> Failure {
    Failure::client(&format!("follow {id}"), error)
        .hint(format!("it may go on: see `vulcan benchmark show {id}`"))
}

fn left(signal: &str, id: BenchmarkId) -> Failure {
    Failure::new(
        Exit::INTERRUPTED,
        format!("could not wait for the end of {id}: a second {signal} came"),
    )
}
