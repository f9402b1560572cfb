//! The memory of one instance, read while its handler waits.

use std::time::Duration;

use tokio::time::Instant;
use vulcan_api::{BenchmarkMemory, Footprint, WorkloadId};

use super::{
    caller::{Caller, Interrupted, body},
    programs::Row,
};

/// How often it is looked.
const PERIOD: Duration = Duration::from_millis(100);
/// How long an instance may take to load its code and to settle.
const SETTLE_MAX: Duration = Duration::from_secs(5);
/// Two readings that differ by no more than one part in this are the same.
const SAME_PART: u64 = 100;

/// Measures one row. Its workload is killed, and forgotten by the caller.
///
/// # Errors
///
/// [`Interrupted`].
pub(super) async fn measure(caller: &Caller, row: &Row) -> Result<BenchmarkMemory, Interrupted> {
    let measured = match caller.submit(&body(&row.sleeping(caller.id()))).await? {
        Ok(workload) => {
            let measured = settled(caller, workload).await;
            // One that cannot be killed ends at its limit.
            drop(caller.service().workload_kill(workload).await);
            measured
        }
        Err(refusal) => Err(refusal),
    };
    Ok(BenchmarkMemory {
        isolation: row.isolation,
        runtime: row.runtime,
        footprint: measured.as_ref().ok().copied(),
        note: measured.err(),
    })
}

/// Returns what the instance takes once that no longer changes.
async fn settled(caller: &Caller, workload: WorkloadId) -> Result<Footprint, String> {
    let deadline = Instant::now() + SETTLE_MAX;
    let mut before = None;
    loop {
        let now = caller.footprint(workload).await;
        let is_settled = matches!((&before, &now), (Some(before), Ok(now)) if is_same(before, now));
        if is_settled || Instant::now() >= deadline || is_over(caller, workload).await {
            return now;
        }
        before = now.ok();
        tokio::time::sleep(PERIOD).await;
    }
}

const fn is_same(before: &Footprint, now: &Footprint) -> bool {
    before.pss_bytes.abs_diff(now.pss_bytes) <= now.pss_bytes / SAME_PART
}

async fn is_over(caller: &Caller, workload: WorkloadId) -> bool {
    let record = caller.service().workload_get(workload).await;
    record.is_ok_and(|record| record.status.is_final())
}
