//! Deletes what is not to be kept: finished records, their logs, and old idempotency keys.

use std::time::Duration;

use tokio::{sync::mpsc, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use vulcan_api::Timestamp;
use vulcan_bus::Command;

use crate::{
    causes::chain,
    driver::Shared,
    options::Options,
    store::{self, Write},
};

/// The most records that one transaction deletes: the hot path writes between two.
const SLICE_MAX: u32 = 500;
/// How long the bus may take to take a message.
const SEND_WAIT_MAX: Duration = Duration::from_secs(5);

/// Sweeps now and then until `stop`.
pub(crate) async fn run(
    shared: Shared,
    options: Options,
    commands: mpsc::Sender<Command>,
    stop: CancellationToken,
) {
    let mut tick = tokio::time::interval(options.retention.sweep_every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => return,
        }
        let swept = tokio::select! {
            swept = sweep(&shared, &options, &commands) => swept,
            () = stop.cancelled() => return,
        };
        match swept {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "old records deleted"),
            Err(error) => tracing::warn!(error = %chain(&error), "old records could not be deleted"),
        }
    }
}

async fn sweep(
    shared: &Shared,
    options: &Options,
    commands: &mpsc::Sender<Command>,
) -> Result<usize, store::Error> {
    let now = shared.clock.now();
    shared
        .store
        .write(Write::ExpireKeys(before(now, options.idempotency_key_lifetime)))
        .await?;
    let ended_before = before(now, options.retention.keep_for);
    let mut count = 0;
    loop {
        let ids = shared
            .store
            .workload_list_expired(ended_before, options.retention.records_max, SLICE_MAX)
            .await?;
        if ids.is_empty() {
            return Ok(count);
        }
        count += ids.len();
        shared.store.write(Write::Delete(ids.clone())).await?;
        // A log whose node did not hear of this is without a record, and its node's to sweep.
        drop(
            commands
                .send_timeout(Command::Forget { workloads: ids }, SEND_WAIT_MAX)
                .await,
        );
    }
}

fn before(now: Timestamp, ago: Duration) -> Timestamp {
    Timestamp::from_millis(
        now.as_millis()
            .saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)),
    )
}
