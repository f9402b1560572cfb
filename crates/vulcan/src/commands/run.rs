//! `vulcan run`: runs code on a server, or in this process where there is none, and shows it live.
//!
//! ```text
//! submit (async, under an idempotency key) ──▶ id ──▶ log stream ──┐
//!                                               └───▶ long poll ───┴──▶ output, exit code
//! first Ctrl-C: kill, and wait for the end        second Ctrl-C: leave
//! ```

use std::{io, pin::pin, time::Duration};

use futures::future::{BoxFuture, FutureExt};
use tokio::time::{Instant, sleep_until};
use vulcan_api::{Workload, WorkloadId};
use vulcan_client::{Client, ClientError, LogOptions, LogTail, RunOptions};

use super::Context;
use crate::{
    cli::RunArgs,
    embedded::Embedded,
    failure::{CommandResult, Exit, Failure},
    live::Live,
    program::{self, Prepared},
    server,
    signals::Signals,
    terminal::Paint,
};

/// Longer than any workload may run.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 86_400);
/// How long the rest of the log may take once the workload is over.
const LOG_REST_LIMIT: Duration = Duration::from_secs(10);

pub(super) async fn run(context: &Context, args: &RunArgs) -> CommandResult {
    let prepared = program::prepare(args)?;
    let mut signals = Signals::listen()
        .map_err(|error| Failure::from_error(Exit::PLATFORM, "listen for signals", &error))?;
    let found = if args.embedded {
        None
    } else {
        server::named_or_found(context.global.server.as_ref()).await?
    };
    match found {
        Some(client) if args.is_async => submit_only(context, &client, &prepared, &mut signals).await,
        Some(client) => follow(context, &client, &prepared, &mut signals).await,
        None if args.is_async => Err(Failure::new(
            Exit::UNREACHABLE,
            "could not run it in the background: no server answers at the default address",
        )
        .hint("start one with `vulcan serve`, or name one with --server URL or VULCAN_SERVER")),
        None => {
            let embedded = Embedded::start_for(&prepared.spec).await?;
            let result = follow(context, embedded.client(), &prepared, &mut signals).await;
            embedded.end().await;
            result
        }
    }
}

async fn submit_only(
    context: &Context,
    client: &Client,
    prepared: &Prepared,
    signals: &mut Signals,
) -> CommandResult {
    let (accepted, _) = submit(client, prepared, signals).await?;
    if context.global.json {
        context.terminal.print_json(&accepted)?;
    } else {
        context.terminal.print(&format!("{}\n", accepted.id))?;
    }
    Ok(Exit::OK)
}

async fn follow(
    context: &Context,
    client: &Client,
    prepared: &Prepared,
    signals: &mut Signals,
) -> CommandResult {
    let live = Live::start(context.terminal, prepared.mode, context.global.json);
    let (accepted, interrupts) = submit(client, prepared, signals).await?;
    let id = accepted.id;
    let mut watch = Watch {
        context,
        client,
        id,
        live,
        interrupts,
        killing: None,
        is_stdout_closed: false,
    };
    let workload = watch.until_over(signals).await?;
    if watch.is_stdout_closed {
        return Ok(Exit::OK);
    }
    Ok(watch.live.finish(&workload)?)
}

/// Hands the workload over. A Ctrl-C in the meantime is remembered, a second one leaves.
async fn submit(
    client: &Client,
    prepared: &Prepared,
    signals: &mut Signals,
) -> Result<(vulcan_api::WorkloadAccepted, u32), Failure> {
    let options = RunOptions {
        idempotency_key: Some(fresh_key()?),
        deadline: None,
    };
    let mut submission = pin!(client.run_async(&prepared.spec, &options));
    let mut interrupts = 0;
    loop {
        // Cancel-safe: the submission is polled by reference.
        tokio::select! {
            answer = &mut submission => {
                let accepted =
                    answer.map_err(|error| Failure::client(&format!("run {}", prepared.name), &error))?;
                return Ok((accepted, interrupts));
            }
            name = signals.next() => {
                interrupts += 1;
                if interrupts > 1 {
                    return Err(left(name, None));
                }
            }
        }
    }
}

/// One workload that is watched until its end.
struct Watch<'a> {
    context: &'a Context,
    client: &'a Client,
    id: WorkloadId,
    live: Live,
    interrupts: u32,
    killing: Option<BoxFuture<'a, Result<Workload, ClientError>>>,
    is_stdout_closed: bool,
}

impl<'a> Watch<'a> {
    async fn until_over(&mut self, signals: &mut Signals) -> Result<Workload, Failure> {
        if self.interrupts > 0 {
            self.kill("killing");
        }
        let mut tail = Some(self.client.logs(self.id, LogOptions::default()));
        let mut waiting = pin!(self.client.wait(self.id, FOR_EVER));
        let mut over: Option<(Workload, Instant)> = None;
        loop {
            match (&tail, over.take()) {
                (None, Some((workload, _))) => return Ok(workload),
                (_, kept) => over = kept,
            }
            let log_limit = over.as_ref().map(|(_, limit)| *limit);
            // Cancel-safe: each branch polls by reference or says so of itself.
            tokio::select! {
                line = next_line(&mut tail) => self.show(line, &mut tail)?,
                answer = &mut waiting, if over.is_none() => {
                    let workload = answer.map_err(|error| self.lost(&error))?;
                    over = Some((workload, Instant::now() + LOG_REST_LIMIT));
                }
                result = killed(&mut self.killing) => self.after_kill(result),
                name = signals.next() => {
                    self.interrupts += 1;
                    if self.interrupts > 1 {
                        return Err(left(name, Some(self.id)));
                    }
                    self.kill("killing (again to leave)");
                }
                () = until(log_limit) => {
                    self.warn("the rest of the log did not come in time");
                    tail = None;
                }
            }
        }
    }

    fn show(
        &mut self,
        line: Option<Result<vulcan_api::LogLine, ClientError>>,
        tail: &mut Option<LogTail>,
    ) -> Result<(), Failure> {
        match line {
            Some(Ok(line)) => match self.live.line(&line) {
                Ok(()) => return Ok(()),
                // Nobody reads any more: what a shell does to a local program, its end, is done to the workload.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.is_stdout_closed = true;
                    self.kill("killing");
                }
                Err(error) => return Err(Failure::from(error)),
            },
            Some(Err(error)) => {
                let failure = Failure::client("show the log", &error);
                self.warn(failure.text().trim_end());
            }
            None => {}
        }
        *tail = None;
        Ok(())
    }

    fn kill(&mut self, word: &str) {
        self.live.say(word);
        let (client, id) = (self.client, self.id);
        self.killing
            .get_or_insert_with(|| async move { client.kill(id).await }.boxed());
    }

    fn after_kill(&mut self, result: Result<Workload, ClientError>) {
        self.killing = None;
        if let Err(error) = result {
            let failure = Failure::client(&format!("kill {}", self.id), &error);
            self.warn(failure.text().trim_end());
        }
    }

    fn warn(&self, text: &str) {
        for line in text.lines() {
            self.context.terminal.err_line(line, Paint::Dim, true);
        }
    }

    fn lost(&self, error: &ClientError) -> Failure {
        Failure::client(&format!("wait for {}", self.id), error)
            .hint(format!("it may go on: see `vulcan status {}`", self.id))
    }
}

async fn next_line(tail: &mut Option<LogTail>) -> Option<Result<vulcan_api::LogLine, ClientError>> {
    match tail {
        Some(tail) => tail.next().await,
        None => std::future::pending().await,
    }
}

async fn killed(
    killing: &mut Option<BoxFuture<'_, Result<Workload, ClientError>>>,
) -> Result<Workload, ClientError> {
    match killing {
        Some(killing) => killing.await,
        None => std::future::pending().await,
    }
}

async fn until(limit: Option<Instant>) {
    match limit {
        Some(limit) => sleep_until(limit).await,
        None => std::future::pending().await,
    }
}

fn left(signal: &str, id: Option<WorkloadId>) -> Failure {
    let failure = Failure::new(
        Exit::INTERRUPTED,
        format!("could not wait for the end: a second {signal} came"),
    );
    match id {
        Some(id) => failure.hint(format!(
            "on a server, {id} may still run: see `vulcan status {id}`"
        )),
        None => failure,
    }
}

fn fresh_key() -> Result<String, Failure> {
    let mut bytes = [0_u8; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).map_err(|errno| {
        Failure::from_error(Exit::PLATFORM, "get random numbers", &io::Error::from(errno))
    })?;
    Ok(format!("run-{:032x}", u128::from_ne_bytes(bytes)))
}
