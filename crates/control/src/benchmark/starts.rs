//! Workloads one at a time: how long each kind of start takes.

use vulcan_api::{BenchmarkShares, BenchmarkStart, BenchmarkWork, Reuse, StartKind, reuse_for};

use super::{
    caller::{Called, Caller, Interrupted, body},
    floors::Floors,
    plan::units,
    programs::Row,
    statistics::{median, spread},
};

/// So many workloads in a row that were started otherwise say that the class has no such start.
const MISSES_MAX: u32 = 6;
/// So many failures without one success are enough.
const FAILURES_MAX: u32 = 3;

/// What is to be measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) row: &'static Row,
    pub(super) work: BenchmarkWork,
    pub(super) start: StartKind,
    pub(super) samples: u32,
}

/// What became of the workloads of one row.
#[derive(Debug, Default)]
struct Tally {
    total: Vec<f64>,
    queued: Vec<f64>,
    start: Vec<f64>,
    run: Vec<f64>,
    rest: Vec<f64>,
    cpu: Vec<f64>,
    mem_peak: Vec<f64>,
    started_otherwise: u32,
    misses: u32,
    failed: u32,
    note: Option<String>,
}

/// Measures one row, with one round of `floors` before each workload. Its workloads are forgotten by the caller.
///
/// # Errors
///
/// [`Interrupted`].
pub(super) async fn measure(
    caller: &Caller,
    wanted: Wanted,
    floors: &mut Floors,
) -> Result<BenchmarkStart, Interrupted> {
    let reuse = reuse_for(wanted.start).unwrap_or(Reuse::None);
    let request = body(&wanted.row.spec(wanted.work, reuse, caller.id()));
    let mut tally = Tally::default();
    // The first ones fill caches and load code.
    let mut warm_up = (wanted.samples / 10).clamp(1, 10);
    let mut attempts = 3 * (wanted.samples + warm_up) + MISSES_MAX;
    while tally.count() < wanted.samples && attempts > 0 && !tally.is_hopeless() {
        attempts -= 1;
        floors.round(caller, warm_up == 0).await;
        if wanted.start == StartKind::Pooled {
            // One at a time, a pool has time to be filled: what it does under load is told by the rates.
            caller.filled(wanted.row.isolation).await;
        }
        let called = match caller.run(&request).await? {
            Ok(called) => called,
            Err(refusal) => {
                tally.refused(refusal);
                continue;
            }
        };
        if tally.is_miss(&called, wanted.start) {
            tally.started_otherwise += u32::from(!is_loading(wanted.start, warm_up));
        } else if warm_up > 0 {
            warm_up -= 1;
        } else if tally.take(&called) {
            caller.advance(units(wanted.work));
        }
    }
    Ok(tally.row(wanted))
}

/// Returns the row of a way to start that the class was seen not to have.
pub(super) fn not_offered(wanted: Wanted, reason: &str) -> BenchmarkStart {
    Tally {
        note: Some(reason.to_owned()),
        ..Tally::default()
    }
    .row(wanted)
}

/// The first workload that is to find its code loaded is the one that loads it.
const fn is_loading(start: StartKind, warm_up: u32) -> bool {
    matches!(start, StartKind::Warm | StartKind::Forked) && warm_up > 0
}

impl Tally {
    fn count(&self) -> u32 {
        u32::try_from(self.total.len()).unwrap_or(u32::MAX)
    }

    fn is_hopeless(&self) -> bool {
        self.total.is_empty() && (self.misses >= MISSES_MAX || self.failed >= FAILURES_MAX)
    }

    fn refused(&mut self, refusal: String) {
        self.failed += 1;
        self.note.get_or_insert(refusal);
    }

    /// Notes a workload that completed and was started otherwise.
    fn is_miss(&mut self, called: &Called, start: StartKind) -> bool {
        let is_miss = called.failure().is_none() && called.record.start != Some(start);
        if is_miss {
            self.misses += 1;
        } else {
            self.misses = 0;
        }
        is_miss
    }

    /// Takes a workload's numbers, where it completed; returns whether it did.
    fn take(&mut self, called: &Called) -> bool {
        if let Some(failure) = called.failure() {
            self.refused(failure);
            return false;
        }
        let record = &called.record;
        self.total.push(called.total_ms);
        self.queued.extend(record.queued_ms);
        self.start.extend(record.start_ms);
        self.run.extend(record.run_ms);
        self.rest.extend(
            record
                .duration_ms
                .map(|duration| (called.total_ms - duration).max(0.0)),
        );
        if let Some(usage) = record.usage {
            self.cpu.push(usage.cpu_ms);
            self.mem_peak.extend(usage.mem_peak_mb);
        }
        true
    }

    fn row(self, wanted: Wanted) -> BenchmarkStart {
        let of = |values: &[f64]| median(values).unwrap_or_default();
        let shares = (!self.total.is_empty()).then(|| BenchmarkShares {
            queued_ms: of(&self.queued),
            start_ms: of(&self.start),
            run_ms: of(&self.run),
            rest_ms: of(&self.rest),
        });
        let is_missing = self.total.is_empty() && self.note.is_none();
        let start = wanted.start.as_str();
        BenchmarkStart {
            isolation: wanted.row.isolation,
            runtime: wanted.row.runtime,
            work: wanted.work,
            start: wanted.start,
            total_ms: spread(&self.total),
            start_ms: spread(&self.start),
            run_ms: spread(&self.run),
            shares,
            cpu_ms: median(&self.cpu),
            mem_peak_mb: median(&self.mem_peak),
            started_otherwise: self.started_otherwise,
            failed: self.failed,
            note: if is_missing {
                Some(format!("not offered: no workload was started {start}"))
            } else {
                self.note
            },
        }
    }
}
