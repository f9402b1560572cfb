//! No-ops, many at once: how many a class runs per second.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{task::JoinSet, time::Instant};
use vulcan_api::{BenchmarkRate, BenchmarkWork, Reuse, StartKind, reuse_for};

use super::{
    caller::{Caller, Interrupted, body},
    programs::Row,
    statistics::spread,
};

/// The part of the time before which nothing counts: pools and caches find their level.
const WARM_UP_PART: u32 = 4;
/// A client whose workloads fail so often without one success gives up.
const FAILURES_MAX: u32 = 10;

/// What is to be measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) row: &'static Row,
    pub(super) start: StartKind,
    pub(super) concurrency: u32,
    pub(super) duration: Duration,
}

/// What became of one client's workloads.
#[derive(Debug, Default)]
struct Tally {
    total: Vec<f64>,
    started_so: u32,
    failed: u32,
    note: Option<String>,
}

/// Keeps so many clients busy for the time. Their workloads are forgotten by the caller.
///
/// # Errors
///
/// [`Interrupted`].
pub(super) async fn measure(caller: &Arc<Caller>, wanted: Wanted) -> Result<BenchmarkRate, Interrupted> {
    let reuse = reuse_for(wanted.start).unwrap_or(Reuse::None);
    let request = body(&wanted.row.spec(BenchmarkWork::Noop, reuse, caller.id()));
    let began = Instant::now() + wanted.duration / WARM_UP_PART;
    let until = began + wanted.duration;
    let mut clients = JoinSet::new();
    for _ in 0..wanted.concurrency {
        let (caller, request) = (Arc::clone(caller), request.clone());
        clients.spawn(async move { client(&caller, &request, (began, until), wanted.start).await });
    }
    let mut all = Tally::default();
    while let Some(ended) = clients.join_next().await {
        // A client that panicked was logged by the runtime, and its numbers are lost.
        if let Ok(tally) = ended {
            all.add(tally?);
        }
    }
    Ok(all.row(wanted))
}

async fn client(
    caller: &Caller,
    request: &Bytes,
    (began, until): (Instant, Instant),
    start: StartKind,
) -> Result<Tally, Interrupted> {
    let mut tally = Tally::default();
    while Instant::now() < until && !tally.is_hopeless() {
        let failure = match caller.run(request).await? {
            Ok(called) => match called.failure() {
                None => {
                    if (began..until).contains(&Instant::now()) {
                        tally.total.push(called.total_ms);
                        tally.started_so += u32::from(called.record.start == Some(start));
                    }
                    continue;
                }
                Some(failure) => failure,
            },
            Err(refusal) => refusal,
        };
        tally.failed += 1;
        tally.note.get_or_insert(failure);
    }
    Ok(tally)
}

impl Tally {
    fn is_hopeless(&self) -> bool {
        self.total.is_empty() && self.failed >= FAILURES_MAX
    }

    fn add(&mut self, other: Self) {
        self.total.extend(other.total);
        self.started_so += other.started_so;
        self.failed += other.failed;
        self.note = self.note.take().or(other.note);
    }

    fn row(self, wanted: Wanted) -> BenchmarkRate {
        let completed = u32::try_from(self.total.len()).unwrap_or(u32::MAX);
        let seconds = wanted.duration.as_secs_f64();
        BenchmarkRate {
            isolation: wanted.row.isolation,
            runtime: wanted.row.runtime,
            start: wanted.start,
            concurrency: wanted.concurrency,
            seconds,
            completed,
            started_so: self.started_so,
            per_second: f64::from(completed) / seconds,
            total_ms: spread(&self.total),
            failed: self.failed,
            note: self.note,
        }
    }
}
