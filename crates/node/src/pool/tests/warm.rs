//! Loaded instances: lent, given back, and given up.

use std::{num::NonZeroU16, sync::Arc, time::Duration};

use tokio::time::{Instant, advance, sleep};
use vulcan_api::{IsolationClass, Usage};
use vulcan_backend::{BackendError, Exited, Instance, Invocation, LogSink, Outcome};

use super::bench::{Bench, python, until};
use crate::pool::{After, Ask, Loaded, Patience, Ready, Taken};

#[tokio::test(start_paused = true)]
async fn a_loaded_instance_that_dies_leaves_the_pool_at_once() {
    let bench = Bench::new(|_| {});
    bench.load("one", 1, 1, 10.0).await;
    bench.simulator.crash_all();
    assert!(bench.lease("one", 1).is_none());
    until("it is stopped", || bench.warm() == 0).await;
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_loaded_instance_goes_after_its_idle_time_and_not_before() {
    let bench = Bench::new(|limits| limits.warm_idle = Duration::from_secs(60));
    bench.load("one", 1, 1, 10.0).await;
    advance(Duration::from_secs(59)).await;
    let mut lease = bench.lease("one", 1).unwrap();
    drop(lease.instance());
    advance(Duration::from_secs(600)).await;
    assert_eq!(lease.end(NonZeroU16::new(1)), After::Kept);
    sleep(Duration::from_secs(58)).await;
    assert_eq!(bench.warm(), 1);
    sleep(Duration::from_secs(4)).await;
    assert_eq!(bench.warm(), 0);
    assert!(bench.pool.locked().keys.is_empty());
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_least_recently_used_are_evicted_when_the_budget_is_reached() {
    // A tenth of 10 GiB.
    let bench = Bench::idle(|_| {});
    for code in 0..5 {
        bench.load("one", code, 1, 300.0).await;
        advance(Duration::from_secs(1)).await;
    }
    let lease = bench.lease("one", 0).unwrap();
    drop(lease);
    bench.pool.look(None);
    let kept: Vec<u8> = (0..5)
        .filter(|code| bench.lease("one", *code).is_some())
        .collect();
    assert_eq!(kept, [0, 3, 4]);
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_lent_is_not_charged_and_not_evicted() {
    let bench = Bench::idle(|_| {});
    bench.load("one", 1, 1, 900.0).await;
    bench.load("one", 2, 1, 900.0).await;
    let lease = bench.lease("one", 1).unwrap();
    assert_eq!(bench.pool.locked().idle_bytes, 900 << 20);
    bench.pool.look(None);
    assert_eq!(bench.warm(), 1);
    drop(lease);
    bench.pool.look(None);
    assert_eq!(bench.warm(), 1);
    assert_eq!(bench.pool.locked().idle_bytes, 900 << 20);
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_of_one_owner_is_ever_given_to_another() {
    let bench = Bench::idle(|_| {});
    bench.load("one", 1, 3, 10.0).await;
    assert!(bench.lease("two", 1).is_none());
    // Not even if the keys were the same.
    let forged = Ask {
        owner: "two",
        ..bench.ask("one", 1)
    };
    assert!(matches!(bench.pool.lend(forged, Patience::Short), Loaded::Full));
    assert!(bench.lease("one", 1).is_some());
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_instance_takes_as_many_calls_at_once_as_its_code_says() {
    let bench = Bench::idle(|_| {});
    bench.load("one", 1, 2, 10.0).await;
    let (first, second) = (bench.lease("one", 1).unwrap(), bench.lease("one", 1).unwrap());
    assert_eq!(first.id(), second.id());
    assert!(bench.lease("one", 1).is_none());
    drop(first);
    assert!(bench.lease("one", 1).is_some());
    drop(second);
    assert_eq!(bench.warm(), 1);
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_patient_call_gets_the_next_one_that_is_given_back() {
    let bench = Bench::idle(|_| {});
    bench.load("one", 1, 1, 10.0).await;
    let lease = bench.lease("one", 1).unwrap();
    let Loaded::Wait(gone, _) = bench.pool.lend(bench.ask("one", 1), Patience::Short) else {
        panic!("it is busy")
    };
    let Loaded::Wait(next, _) = bench.pool.lend(bench.ask("one", 1), Patience::Short) else {
        panic!("it is busy")
    };
    drop(gone);
    drop(lease);
    let next = next.await.unwrap();
    assert!(bench.lease("one", 1).is_none());
    drop(next);
    assert!(bench.lease("one", 1).is_some());
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_load_that_comes_to_nothing_is_told() {
    let bench = Bench::idle(|_| {});
    let Loaded::Seat(seat) = bench.pool.lend(bench.ask("one", 1), Patience::Short) else {
        panic!("there is none yet")
    };
    let Loaded::Wait(waiting, _) = bench.pool.lend(bench.ask("one", 1), Patience::Short) else {
        panic!("it is being loaded")
    };
    drop(seat);
    assert!(waiting.await.is_err());
    assert!(bench.pool.locked().keys.is_empty());
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn there_are_no_more_instances_of_one_code_than_allowed() {
    let bench = Bench::idle(|limits| limits.warm_per_key_max = 2);
    bench.load("one", 1, 1, 10.0).await;
    let lease = bench.lease("one", 1).unwrap();
    let Loaded::Seat(seat) = bench.pool.lend(bench.ask("one", 1), Patience::None) else {
        panic!("there is room for one more")
    };
    assert!(matches!(
        bench.pool.lend(bench.ask("one", 1), Patience::None),
        Loaded::Full
    ));
    drop((lease, seat));
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_retired_instance_serves_nobody_and_says_why() {
    let bench = Bench::idle(|_| {});
    bench.load("one", 1, 2, 10.0).await;
    let (late, mut other) = (bench.lease("one", 1).unwrap(), bench.lease("one", 1).unwrap());
    late.retire("another call in it was killed");
    assert!(bench.lease("one", 1).is_none());
    assert_eq!(other.fate(), Some("another call in it was killed"));
    drop(other.instance());
    assert_eq!(other.end(NonZeroU16::new(2)), After::Stop);
    drop(late);
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_last_call_of_an_instance_that_cannot_be_called_again_stops_it() {
    let bench = Bench::idle(|_| {});
    bench.load("one", 1, 2, 10.0).await;
    let (first, second) = (bench.lease("one", 1).unwrap(), bench.lease("one", 1).unwrap());
    assert_eq!(first.end(None), After::LeftToOthers);
    assert!(bench.lease("one", 1).is_none());
    assert_eq!(second.end(NonZeroU16::new(2)), After::Stop);
    assert_eq!(bench.pool.locked().idle_bytes, 0);
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_lost_takes_its_instance_with_it() {
    let bench = Bench::idle(|_| {});
    bench.load("one", 1, 1, 10.0).await;
    let mut lease = bench.lease("one", 1).unwrap();
    drop(lease.instance());
    drop(lease);
    assert!(bench.lease("one", 1).is_none());
    until("it is stopped", || bench.simulator.live() == 0).await;
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_lent_when_the_pools_close_is_not_kept() {
    let bench = Bench::new(|_| {});
    bench.load("one", 1, 1, 10.0).await;
    let mut lease = bench.lease("one", 1).unwrap();
    let instance = lease.instance();
    bench.pool.close();
    assert_eq!(lease.end(NonZeroU16::new(1)), After::Stop);
    instance.stop(Duration::ZERO).await.unwrap();
    assert!(matches!(
        bench.pool.lend(bench.ask("one", 1), Patience::Short),
        Loaded::Full
    ));
    assert!(matches!(bench.pool.take(python(), None), Taken::None));
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_backend_without_room_gets_the_idle_instance_back_that_is_worth_least() {
    let bench = Bench::idle(|_| {});
    bench.load("one", 1, 1, 10.0).await;
    advance(Duration::from_secs(1)).await;
    bench.load("one", 2, 1, 10.0).await;
    assert!(!bench.pool.relieve(IsolationClass::Microvm));
    assert!(bench.pool.relieve(IsolationClass::Sandbox));
    assert!(bench.lease("one", 1).is_none());
    assert!(bench.pool.relieve(IsolationClass::Sandbox));
    assert!(!bench.pool.relieve(IsolationClass::Sandbox));
    bench.close().await;
}

/// An instance that uses a whole processor from the beginning.
struct Spinning(Instant);

#[async_trait::async_trait]
impl Instance for Spinning {
    async fn invoke(&self, _: Invocation, _: LogSink) -> Result<Outcome, BackendError> {
        Err(BackendError::Stopped)
    }

    async fn wait(&self) -> Exited {
        std::future::pending().await
    }

    async fn stop(&self, _: Duration) -> Result<(), BackendError> {
        Ok(())
    }

    async fn usage(&self) -> Result<Usage, BackendError> {
        Ok(Usage {
            cpu_ms: self.0.elapsed().as_secs_f64() * 1e3,
            mem_peak_mb: Some(1.0),
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_loaded_instance_that_does_not_rest_is_stopped_and_others_are_not() {
    let bench = Bench::new(|_| {});
    bench.load("one", 1, 1, 10.0).await;
    let Loaded::Seat(seat) = bench.pool.lend(bench.ask("one", 2), Patience::None) else {
        panic!("no seat")
    };
    let instance: Arc<dyn Instance> = Arc::new(Spinning(Instant::now()));
    let usage = instance.usage().await.ok();
    let id = vulcan_api::InstanceId::generate(vulcan_api::Timestamp::from_millis(0), crate::host::random());
    assert!(seat.fill(&Ready { instance, id, usage }, NonZeroU16::MIN));
    until("it is stopped", || bench.warm() == 1).await;
    assert!(bench.lease("one", 1).is_some());
    assert!(
        bench
            .metrics()
            .contains("vulcan_pool_evictions_total{reason=\"restless\"} 1")
    );
    bench.close().await;
}
