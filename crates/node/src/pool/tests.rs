//! The pools as a whole, over the simulator, with a clock that stands still until it is moved.

use std::{
    io,
    num::NonZeroU16,
    sync::{Arc, Mutex},
    time::Duration,
};

use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::time::{Instant, advance, sleep, timeout};
use vulcan_api::{
    BackendInfo, IsolationClass, Network, NodeName, PoolInfo, Readiness, Resources, Runtime, RuntimeInfo,
    SystemClock, Usage,
};
use vulcan_backend::{
    Backend as _, BackendError, Exited, Instance, Invocation, LogSink, Outcome,
    simulator::{Simulator, Step},
};

use super::*;
use crate::{Metrics, metrics::Kind};

const GIB: u64 = 1 << 30;

struct Bench {
    pool: Arc<Pool>,
    simulator: Simulator,
    registry: Registry,
    /// What the machine is made to say of its memory.
    memory: Arc<Mutex<Memory>>,
}

impl Bench {
    /// Makes pools that nobody tends.
    fn idle(change: impl FnOnce(&mut PoolLimits)) -> Self {
        let mut limits = PoolLimits {
            refill_concurrency: 1,
            ..PoolLimits::default()
        };
        change(&mut limits);
        let memory = Arc::new(Mutex::new(Memory {
            total: 10 * GIB,
            available: 8 * GIB,
        }));
        let (simulator, seen) = (Simulator::new(), Arc::clone(&memory));
        let mut registry = Registry::default();
        let backend: Arc<dyn vulcan_backend::Backend> = Arc::new(simulator.clone());
        let pool = Pool::new(Setup {
            limits,
            backends: [(IsolationClass::Sandbox, backend)].into(),
            clock: Arc::new(SystemClock),
            metrics: Metrics::register(&mut registry),
            stop: Duration::from_secs(1),
            memory: Box::new(move || Some(*seen.lock().unwrap())),
        });
        Self {
            pool,
            simulator,
            registry,
            memory,
        }
    }

    /// Makes pools that are tended, and offered what the simulator has.
    fn new(change: impl FnOnce(&mut PoolLimits)) -> Self {
        let bench = Self::idle(change);
        bench.pool.offered(&[offer(&Runtime::ALL)]);
        let pool = Arc::clone(&bench.pool);
        bench.pool.tasks.spawn(pool.tend());
        bench
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text
    }

    fn infos(&self) -> Vec<PoolInfo> {
        self.pool.infos(IsolationClass::Sandbox)
    }

    fn blank(&self) -> u32 {
        self.infos().iter().map(|info| info.blank).sum()
    }

    fn warm(&self) -> u32 {
        self.infos().iter().map(|info| info.warm).sum()
    }

    /// Closes the pools; nothing is left.
    async fn close(self) {
        self.pool.close();
        timeout(Duration::from_secs(60), self.pool.closed())
            .await
            .unwrap();
        assert_eq!(self.simulator.live(), 0);
    }

    fn ask<'a>(&self, owner: &'a str, code: u8) -> Ask<'a> {
        Ask {
            key: key(owner, code),
            owner,
            kind: KIND,
            mem_mb: 128,
        }
    }

    /// Loads one instance for an owner.
    async fn load(&self, owner: &str, code: u8, calls_max: u16, mem_peak_mb: f64) {
        let Loaded::Seat(seat) = self.pool.lend(self.ask(owner, code), Patience::None) else {
            panic!("no seat");
        };
        let id =
            vulcan_api::InstanceId::generate(vulcan_api::Timestamp::from_millis(0), crate::host::random());
        let request = vulcan_backend::StartRequest {
            instance: id,
            resources: Resources::default(),
            network: Network::None,
            prepare: None,
        };
        let instance = self.simulator.start(request).await.unwrap();
        let usage = Some(Usage {
            cpu_ms: 1.0,
            mem_peak_mb: Some(mem_peak_mb),
        });
        assert!(seat.fill(
            &Ready { instance, id, usage },
            NonZeroU16::new(calls_max).unwrap()
        ));
    }

    fn lease(&self, owner: &str, code: u8) -> Option<Lease> {
        match self.pool.lend(self.ask(owner, code), Patience::None) {
            Loaded::Lease(lease) => Some(lease),
            Loaded::Wait(..) | Loaded::Seat(_) | Loaded::Full => None,
        }
    }
}

const KIND: Kind = Kind {
    isolation: IsolationClass::Sandbox,
    runtime: Runtime::Python,
};

fn key(owner: &str, code: u8) -> super::key::WarmKey {
    super::key::WarmKey::for_test(owner, code)
}

fn python() -> BlankKind {
    BlankKind {
        isolation: IsolationClass::Sandbox,
        runtime: Runtime::Python,
        size: Size::of(&Resources::default()),
        network: Network::None,
    }
}

/// A kind that is not kept always.
fn odd() -> BlankKind {
    let resources = Resources {
        mem_mb: 77,
        ..Resources::default()
    };
    BlankKind {
        size: Size::of(&resources),
        ..python()
    }
}

fn offer(runtimes: &[Runtime]) -> BackendInfo {
    let info = |runtime: &Runtime| RuntimeInfo {
        runtime: *runtime,
        available: true,
        detail: String::new(),
        packages: Vec::new(),
    };
    BackendInfo {
        isolation: IsolationClass::Sandbox,
        node: "newt".parse::<NodeName>().unwrap(),
        readiness: Readiness::Ready,
        runtimes: runtimes.iter().map(info).collect(),
        abilities: Vec::new(),
        pools: Vec::new(),
    }
}

/// Waits until something holds, in the clock of the test.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..100_000 {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come true");
}

fn failure() -> BackendError {
    BackendError::StartFailed {
        step: "clone3".to_owned(),
        source: Some(io::Error::other("no more processes")),
    }
}

#[tokio::test(start_paused = true)]
async fn every_kind_that_is_offered_is_filled_and_a_closed_pool_leaves_nothing() {
    let bench = Bench::new(|_| {});
    until("both kinds are full", || bench.blank() == 4).await;
    let kept: Vec<(Runtime, u32, u32)> = bench
        .infos()
        .iter()
        .map(|info| (info.runtime, info.blank, info.blank_wanted))
        .collect();
    assert_eq!(kept, [(Runtime::Python, 2, 2), (Runtime::Node, 2, 2)]);
    assert_eq!(bench.simulator.started_blank(), 4);
    assert!(
        bench
            .metrics()
            .contains("vulcan_pool_instances{isolation=\"sandbox\",runtime=\"python\",state=\"blank\"} 2")
    );
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn only_what_is_named_is_kept_where_something_is_named() {
    let bench = Bench::new(|limits| {
        let (isolation, runtime) = (IsolationClass::Sandbox, Runtime::Typescript);
        limits.blank = vec![BlankName { isolation, runtime }];
        limits.blank_per_kind = 1;
    });
    until("the kind is full", || bench.blank() == 1).await;
    assert_eq!(bench.infos()[0].runtime, Runtime::Node);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(bench.simulator.started(), 1);
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_is_not_there_is_not_started_ahead() {
    let bench = Bench::idle(|_| {});
    bench.pool.offered(&[offer(&[Runtime::Bash, Runtime::Python])]);
    bench.pool.tasks.spawn(Arc::clone(&bench.pool).tend());
    until("python is full", || bench.blank() == 2).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(bench.simulator.started(), 2);
    bench.pool.offered(&[BackendInfo {
        readiness: Readiness::Unfit { reasons: Vec::new() },
        ..offer(&[])
    }]);
    assert_eq!(bench.infos()[0].blank_wanted, 0);
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_taken_is_replaced_and_never_given_twice() {
    let bench = Bench::new(|_| {});
    until("full", || bench.blank() == 4).await;
    let mut ids = std::collections::HashSet::new();
    for _ in 0..20 {
        let Taken::Ready(ready) = bench.pool.take(python()) else {
            panic!("there is one")
        };
        assert!(ids.insert(ready.id), "given twice");
        ready.instance.stop(Duration::ZERO).await.unwrap();
        until("full again", || bench.infos()[0].blank >= 2).await;
    }
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_one_is_being_started_gets_that_one_and_nobody_else_does() {
    let bench = Bench::new(|limits| limits.blank_per_kind = 1);
    until("full", || bench.blank() == 2).await;
    let hold = bench.simulator.hold(Step::Start);
    assert!(matches!(bench.pool.take(python()), Taken::Ready(_)));
    hold.reached(1).await;

    let Taken::Coming(coming) = bench.pool.take(python()) else {
        panic!("one is coming")
    };
    assert!(matches!(bench.pool.take(python()), Taken::None));
    drop(hold);

    let ready = timeout(Duration::from_secs(9), coming).await.unwrap().unwrap();
    ready.instance.stop(Duration::ZERO).await.unwrap();
    until("full again", || bench.blank() >= 2).await;
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_refill_that_fails_is_told() {
    let bench = Bench::new(|limits| limits.blank_per_kind = 1);
    until("full", || bench.blank() == 2).await;
    let hold = bench.simulator.hold(Step::Start);
    bench.simulator.fail_next(Step::Start, failure);
    assert!(matches!(bench.pool.take(python()), Taken::Ready(_)));
    hold.reached(1).await;
    let Taken::Coming(coming) = bench.pool.take(python()) else {
        panic!("one is coming")
    };
    drop(hold);
    assert!(timeout(Duration::from_secs(9), coming).await.unwrap().is_err());
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_workload_that_goes_away_leaves_what_was_coming_to_the_pool() {
    let bench = Bench::new(|limits| limits.blank_per_kind = 1);
    until("full", || bench.blank() == 2).await;
    let hold = bench.simulator.hold(Step::Start);
    assert!(matches!(bench.pool.take(python()), Taken::Ready(_)));
    hold.reached(1).await;
    drop(bench.pool.take(python()));
    drop(hold);
    until("full again", || bench.blank() >= 2).await;
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_size_that_is_asked_for_again_is_learned_and_forgotten_when_nobody_asks_any_more() {
    let bench = Bench::new(|_| {});
    until("full", || bench.blank() == 4).await;
    assert!(matches!(bench.pool.take(odd()), Taken::None));
    sleep(Duration::from_secs(3)).await;
    assert_eq!(bench.blank(), 4);

    assert!(matches!(bench.pool.take(odd()), Taken::None));
    until("it is learned", || bench.blank() == 5).await;

    sleep(bench.pool.setup.limits.blank_idle + Duration::from_secs(2)).await;
    assert_eq!((bench.blank(), bench.simulator.live()), (4, 4));
    assert!(
        bench
            .metrics()
            .contains("vulcan_pool_evictions_total{reason=\"idle\"} 1")
    );
    assert_eq!(bench.pool.locked().kinds.len(), 2);
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_kinds_that_are_known_are_bounded() {
    let bench = Bench::new(|_| {});
    for mem_mb in 0..1000 {
        let resources = Resources {
            mem_mb,
            ..Resources::default()
        };
        let size = Size::of(&resources);
        drop(bench.pool.take(BlankKind { size, ..python() }));
    }
    assert_eq!(bench.pool.locked().kinds.len(), super::blank::KINDS_MAX);
    until("what is kept always is full all the same", || bench.blank() >= 4).await;
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn refills_that_fail_back_off_say_so_and_recover() {
    let bench = Bench::idle(|limits| limits.blank_per_kind = 1);
    for _ in 0..4 {
        bench.simulator.fail_next(Step::Start, failure);
    }
    bench.pool.offered(&[offer(&[Runtime::Python])]);
    let began = Instant::now();
    bench.pool.tasks.spawn(Arc::clone(&bench.pool).tend());

    until("it has failed", || {
        bench.infos().iter().any(|info| info.failing.is_some())
    })
    .await;
    let failing = bench.infos()[0].failing.clone().unwrap();
    assert!(
        failing.starts_with(
            "the instance could not be started: clone3: no more processes; failed 1 times in a row, tried next at 2"
        ),
        "{failing}"
    );
    until("it is full", || bench.blank() == 1).await;
    // 1 + 2 + 4 + 8 seconds, each give or take a quarter.
    let took = began.elapsed().as_secs_f64();
    assert!((11.0..20.0).contains(&took), "{took}");
    assert_eq!(bench.infos()[0].failing, None);
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_blank_instance_that_dies_leaves_the_pool_at_once_and_is_replaced() {
    let bench = Bench::new(|_| {});
    until("full", || bench.blank() == 4).await;
    bench.simulator.crash_all();
    // Nobody had a chance to look yet: what is given out lives.
    if let Taken::Ready(ready) = bench.pool.take(python()) {
        panic!("{} is dead", ready.id);
    }
    until("replaced", || {
        bench.blank() >= 4 && bench.simulator.started() >= 8
    })
    .await;
    assert!(
        bench
            .metrics()
            .contains("vulcan_pool_evictions_total{reason=\"died\"} 4")
    );
    bench.close().await;
}

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
async fn under_pressure_idle_instances_go_and_come_back_afterwards() {
    let bench = Bench::new(|_| {});
    until("full", || bench.blank() == 4).await;
    bench.load("one", 1, 1, 10.0).await;
    bench.memory.lock().unwrap().available = GIB / 2;
    until("all are gone", || bench.blank() + bench.warm() == 0).await;
    until("all are stopped", || bench.simulator.live() == 0).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(bench.blank(), 0);
    bench.memory.lock().unwrap().available = 8 * GIB;
    until("they are back", || bench.blank() == 4).await;
    assert!(
        bench
            .metrics()
            .contains("vulcan_pool_evictions_total{reason=\"pressure\"} 5")
    );
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
    assert!(matches!(bench.pool.take(python()), Taken::None));
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_refill_that_is_under_way_when_the_pools_close_leaves_nothing() {
    let bench = Bench::new(|_| {});
    let hold = bench.simulator.hold(Step::Start);
    hold.reached(1).await;
    bench.pool.close();
    bench.pool.closed().await;
    drop(hold);
    assert_eq!(bench.simulator.live(), 0);
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
