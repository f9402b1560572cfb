//! One workload at a time, and the bare command right beside it.

use serde::Serialize;
use tokio::time::Instant;
use vulcan_api::{Status, Workload, WorkloadSpec};
use vulcan_client::{Client, RunOptions};

use crate::{
    context::{Context as _, Failure},
    floor::Pair,
    rounds::Rounds,
    sample::{Sample, Summary},
};

/// What one pair came to.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Latency {
    /// What was run.
    pub(crate) name: &'static str,
    /// The bare command as one would type it.
    pub(crate) bare_command: String,
    /// The bare command.
    pub(crate) bare: Summary,
    /// The workload as its caller saw it.
    pub(crate) total: Summary,
    /// Medians of where the time went.
    pub(crate) shares: Shares,
    /// The median against the bare median.
    pub(crate) ratio: f64,
    /// The most that the ratio may be.
    pub(crate) ratio_max: Option<f64>,
}

/// Medians in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Shares {
    /// On the way to the instance and back: control, bus and node.
    pub(crate) queued_ms: f64,
    /// Until the instance answered.
    pub(crate) start_ms: f64,
    /// From handing over the code until its end.
    pub(crate) run_ms: f64,
    /// What the caller saw beyond `duration_ms`: HTTP, JSON, the record's commit.
    pub(crate) outside_ms: f64,
}

#[derive(Debug, Default)]
struct Parts {
    queued: Sample,
    start: Sample,
    run: Sample,
    outside: Sample,
}

impl Parts {
    fn push(&mut self, workload: &Workload, total: f64) {
        let [queued, start, run, duration] = [
            workload.queued_ms,
            workload.start_ms,
            workload.run_ms,
            workload.duration_ms,
        ]
        .map(Option::unwrap_or_default);
        self.queued.push(queued);
        self.start.push(start);
        self.run.push(run);
        self.outside.push(total - duration);
    }

    fn medians(&self) -> Shares {
        Shares {
            queued_ms: self.queued.median(),
            start_ms: self.start.median(),
            run_ms: self.run.median(),
            outside_ms: self.outside.median(),
        }
    }
}

/// Runs one pair alternately, so that both see the same machine.
///
/// # Errors
///
/// When either cannot be run, or the workload does not complete.
pub(crate) async fn measure(client: &Client, pair: &Pair, runs: usize) -> Result<Latency, Failure> {
    let mut bare = Sample::default();
    let mut total = Sample::default();
    let mut parts = Parts::default();
    for round in Rounds::with_warm_up(runs) {
        let bare_ms = pair.bare.time()?;
        let (workload, total_ms) = run_once(client, &pair.spec).await?;
        if round.is_counted {
            bare.push(bare_ms);
            total.push(total_ms);
            parts.push(&workload, total_ms);
        }
    }
    Ok(Latency {
        name: pair.name,
        bare_command: pair.bare.text(),
        bare: bare.summary(),
        total: total.summary(),
        shares: parts.medians(),
        ratio: total.median() / bare.median(),
        ratio_max: pair.ratio_max,
    })
}

/// Runs a workload that must complete; returns it with the milliseconds that its caller waited.
///
/// # Errors
///
/// When the server refuses, or the workload does not complete.
pub(crate) async fn run_once(client: &Client, spec: &WorkloadSpec) -> Result<(Workload, f64), Failure> {
    let start = Instant::now();
    let workload = client
        .run(spec, &RunOptions::default())
        .await
        .doing("run a workload")?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    if workload.status == Status::Completed {
        return Ok((workload, milliseconds));
    }
    Err(Failure::new(format!(
        "complete a workload: {} {:?}",
        workload.status, workload.error
    )))
}
