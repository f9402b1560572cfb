//! Many clients at once, and the server's memory meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use tokio::{task::JoinSet, time::Instant};
use vulcan_api::WorkloadSpec;
use vulcan_client::Client;

use crate::{
    context::{Context as _, Failure},
    latency::run_once,
    options::Amounts,
    sample::{Sample, Summary, to_f64},
    server::Server,
};

/// How often the server's memory is looked at.
const MEMORY_PERIOD: Duration = Duration::from_millis(20);

/// What the load came to.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Load {
    /// Clients at once.
    pub(crate) clients: usize,
    /// Seconds that were measured.
    pub(crate) seconds: f64,
    /// Workloads that completed within these seconds.
    pub(crate) completed: usize,
    /// Completed workloads per second.
    pub(crate) rate: f64,
    /// Requests that failed, or workloads that did not complete.
    pub(crate) errors: usize,
    /// The first error, in words.
    pub(crate) first_error: Option<String>,
    /// What the callers waited.
    pub(crate) latency: Summary,
    /// The server's memory after the first and after the last of the counted workloads, in MiB.
    pub(crate) rss_mb: Growth,
}

/// Memory at two counts of workloads.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Growth {
    /// Workloads until the first reading.
    pub(crate) first_at: usize,
    /// The first reading.
    pub(crate) first: f64,
    /// Workloads until the last reading.
    pub(crate) last_at: usize,
    /// The last reading.
    pub(crate) last: f64,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    spec: WorkloadSpec,
    done: AtomicUsize,
    until: Instant,
    at_least: usize,
}

#[derive(Debug, Default)]
struct Tally {
    latency: Sample,
    completed: usize,
    errors: usize,
    first_error: Option<String>,
}

/// Keeps all clients busy for the time, and then until enough workloads have run for the memory's second reading.
///
/// # Errors
///
/// When the server is gone. A failed workload is counted, and no error.
pub(crate) async fn measure(
    server: &Server,
    spec: &WorkloadSpec,
    amounts: &Amounts,
) -> Result<Load, Failure> {
    let start = Instant::now();
    let shared = Arc::new(Shared {
        client: server.client().clone(),
        spec: spec.clone(),
        done: AtomicUsize::new(0),
        until: start + Duration::from_secs(amounts.load_s),
        at_least: amounts.memory_last,
    });
    let mut clients = JoinSet::new();
    for _ in 0..amounts.clients {
        clients.spawn(client(Arc::clone(&shared)));
    }
    let rss_mb = watch_memory(server, &shared, amounts).await?;
    let mut all = Tally::default();
    while let Some(tally) = clients.join_next().await {
        all.add(tally.doing("join a client")?);
    }
    let seconds = to_seconds(amounts.load_s);
    Ok(Load {
        clients: amounts.clients,
        seconds,
        completed: all.completed,
        rate: to_f64(all.completed) / seconds,
        errors: all.errors,
        first_error: all.first_error,
        latency: all.latency.summary(),
        rss_mb,
    })
}

fn to_seconds(seconds: u64) -> f64 {
    Duration::from_secs(seconds).as_secs_f64()
}

async fn client(shared: Arc<Shared>) -> Tally {
    let mut tally = Tally::default();
    loop {
        let is_timed = Instant::now() < shared.until;
        if !is_timed && shared.done.load(Ordering::Relaxed) >= shared.at_least {
            return tally;
        }
        match run_once(&shared.client, &shared.spec).await {
            Ok((_, milliseconds)) => {
                if Instant::now() < shared.until {
                    tally.completed += 1;
                    tally.latency.push(milliseconds);
                }
            }
            Err(error) => {
                tally.errors += 1;
                tally.first_error.get_or_insert_with(|| error.to_string());
            }
        }
        shared.done.fetch_add(1, Ordering::Relaxed);
    }
}

async fn watch_memory(server: &Server, shared: &Shared, amounts: &Amounts) -> Result<Growth, Failure> {
    let mut growth = Growth::default();
    while growth.last_at == 0 {
        tokio::time::sleep(MEMORY_PERIOD).await;
        let done = shared.done.load(Ordering::Relaxed);
        if growth.first_at == 0 && done >= amounts.memory_first {
            growth.first_at = done;
            growth.first = server.rss_mb()?;
        }
        if done >= amounts.memory_last {
            growth.last_at = done;
            growth.last = server.rss_mb()?;
        }
    }
    Ok(growth)
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.latency.merge(other.latency);
        self.completed += other.completed;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }
}
