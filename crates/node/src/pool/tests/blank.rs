//! Blank instances: what is started ahead, taken, and given up.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use vulcan_api::{BackendInfo, IsolationClass, Readiness, Resources, Runtime};
use vulcan_backend::simulator::Step;

use super::bench::{Bench, GIB, failure, odd, offer, python, until};
use crate::pool::{BlankKind, BlankName, DefaultRoots, Size, Taken};

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
    bench
        .pool
        .offered(&[offer(&[Runtime::Bash, Runtime::Python])], &DefaultRoots::new());
    bench.pool.tasks.spawn(Arc::clone(&bench.pool).tend());
    until("python is full", || bench.blank() == 2).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(bench.simulator.started(), 2);
    bench.pool.offered(
        &[BackendInfo {
            readiness: Readiness::Unfit { reasons: Vec::new() },
            ..offer(&[])
        }],
        &DefaultRoots::new(),
    );
    assert_eq!(bench.infos()[0].blank_wanted, 0);
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_taken_is_replaced_and_never_given_twice() {
    let bench = Bench::new(|_| {});
    until("full", || bench.blank() == 4).await;
    let mut ids = std::collections::HashSet::new();
    for _ in 0..20 {
        let Taken::Ready(ready) = bench.pool.take(python(), None) else {
            panic!("there is one")
        };
        assert!(ids.insert(ready.id), "given twice");
        ready.instance.stop(Duration::ZERO).await.unwrap();
        until("full again", || bench.infos()[0].blank >= 2).await;
    }
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_replacement_leaves_the_program_alone_for_a_moment_unless_it_was_the_last() {
    let bench = Bench::new(|_| {});
    until("full", || bench.blank() == 4).await;
    let took = |taken| match taken {
        Taken::Ready(ready) => ready,
        Taken::Coming(_) | Taken::None => panic!("there is one"),
    };
    let first = took(bench.pool.take(python(), None));
    sleep(Duration::from_millis(10)).await;
    assert_eq!(bench.simulator.started(), 4, "another one is left");

    let last = took(bench.pool.take(python(), None));

    sleep(Duration::from_millis(1)).await;
    assert!(bench.simulator.started() > 4, "none is left");
    for ready in [first, last] {
        ready.instance.stop(Duration::ZERO).await.unwrap();
    }
    until("full again", || bench.blank() == 4).await;
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_one_is_being_started_gets_that_one_and_nobody_else_does() {
    let bench = Bench::new(|limits| limits.blank_per_kind = 1);
    until("full", || bench.blank() == 2).await;
    let hold = bench.simulator.hold(Step::Start);
    assert!(matches!(bench.pool.take(python(), None), Taken::Ready(_)));
    hold.reached(1).await;

    let Taken::Coming(coming) = bench.pool.take(python(), None) else {
        panic!("one is coming")
    };
    assert!(matches!(bench.pool.take(python(), None), Taken::None));
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
    assert!(matches!(bench.pool.take(python(), None), Taken::Ready(_)));
    hold.reached(1).await;
    let Taken::Coming(coming) = bench.pool.take(python(), None) else {
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
    assert!(matches!(bench.pool.take(python(), None), Taken::Ready(_)));
    hold.reached(1).await;
    drop(bench.pool.take(python(), None));
    drop(hold);
    until("full again", || bench.blank() >= 2).await;
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_size_that_is_asked_for_again_is_learned_and_forgotten_when_nobody_asks_any_more() {
    let bench = Bench::new(|_| {});
    until("full", || bench.blank() == 4).await;
    assert!(matches!(bench.pool.take(odd(), None), Taken::None));
    sleep(Duration::from_secs(3)).await;
    assert_eq!(bench.blank(), 4);

    assert!(matches!(bench.pool.take(odd(), None), Taken::None));
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
        drop(bench.pool.take(BlankKind { size, ..python() }, None));
    }
    assert_eq!(bench.pool.locked().kinds.len(), crate::pool::blank::KINDS_MAX);
    until("what is kept always is full all the same", || bench.blank() >= 4).await;
    bench.close().await;
}

#[tokio::test(start_paused = true)]
async fn refills_that_fail_back_off_say_so_and_recover() {
    let bench = Bench::idle(|limits| limits.blank_per_kind = 1);
    for _ in 0..4 {
        bench.simulator.fail_next(Step::Start, failure);
    }
    bench
        .pool
        .offered(&[offer(&[Runtime::Python])], &DefaultRoots::new());
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
    if let Taken::Ready(ready) = bench.pool.take(python(), None) {
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
async fn a_refill_that_is_under_way_when_the_pools_close_leaves_nothing() {
    let bench = Bench::new(|_| {});
    let hold = bench.simulator.hold(Step::Start);
    hold.reached(1).await;
    bench.pool.close();
    bench.pool.closed().await;
    drop(hold);
    assert_eq!(bench.simulator.live(), 0);
}
