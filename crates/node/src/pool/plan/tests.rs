//! The decisions, one claim each, and what holds for all of them.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;
const MINUTE: Duration = Duration::from_secs(60);

fn bounds() -> Bounds {
    Bounds {
        budget: 400 * MIB,
        idle_max: 100,
        blank_max: 8,
        blank_idle: 5 * MINUTE,
        warm_idle: 5 * MINUTE,
        refills_max: 4,
        cpus: 2,
    }
}

/// A moment with a past.
fn now() -> Instant {
    Instant::now() + 1000 * MINUTE
}

fn idle(serial: u64, ago: Duration, mib: u64) -> Idle {
    Idle {
        serial,
        since: now_of(serial) - ago,
        bytes: mib * MIB,
    }
}

thread_local! {
    static NOW: Instant = now();
}

fn now_of(_: u64) -> Instant {
    NOW.with(|now| *now)
}

fn kind(minimum: u32) -> KindView {
    KindView {
        minimum,
        estimate: 20 * MIB,
        ..KindView::default()
    }
}

fn asked(weight: f64, ago: Duration) -> KindView {
    KindView {
        weight,
        asked_at: Some(now_of(0) - ago),
        ..kind(0)
    }
}

fn view(kinds: Vec<KindView>, warm: Vec<Idle>) -> View {
    View {
        now: now_of(0),
        shortfall: 0,
        running: 0,
        kinds,
        warm,
    }
}

#[test]
fn an_idle_node_fills_its_minimum_one_at_a_time() {
    let plan = plan(&view(vec![kind(2), kind(2)], Vec::new()), &bounds());
    assert_eq!(plan.refill, [0]);
    assert_eq!(plan.look_at, Some(now_of(0) + QUIET_TICK));
}

#[test]
fn an_idle_refill_waits_while_the_node_is_busy() {
    let mut view = view(vec![kind(2)], Vec::new());
    view.running = 2;
    assert!(plan(&view, &bounds()).refill.is_empty());
    view.running = 1;
    assert_eq!(plan(&view, &bounds()).refill, [0]);
}

#[test]
fn what_was_asked_for_just_now_is_refilled_at_once_up_to_the_bound() {
    let mut view = view(
        vec![asked(30.0, Duration::ZERO), asked(9.0, Duration::ZERO)],
        Vec::new(),
    );
    view.running = 100;
    assert_eq!(plan(&view, &bounds()).refill, [0, 1, 0, 1]);
    view.kinds[0].refilling = 3;
    assert_eq!(plan(&view, &bounds()).refill, [1]);
    view.kinds[0].joined = 3;
    assert_eq!(plan(&view, &bounds()).refill, [0]);
}

#[test]
fn a_size_that_is_asked_for_once_gets_nothing_and_one_asked_for_twice_does() {
    let bounds = bounds();
    assert_eq!(wanted(&asked(1.0, Duration::ZERO), &bounds, now_of(0)), 0);
    assert_eq!(wanted(&asked(1.9, Duration::ZERO), &bounds, now_of(0)), 1);
    assert_eq!(wanted(&asked(17.0, Duration::ZERO), &bounds, now_of(0)), 3);
    assert_eq!(wanted(&asked(1e300, Duration::ZERO), &bounds, now_of(0)), 8);
    assert_eq!(wanted(&asked(17.0, 5 * MINUTE), &bounds, now_of(0)), 0);
    let kept = KindView {
        minimum: 2,
        ..asked(17.0, 5 * MINUTE)
    };
    assert_eq!(wanted(&kept, &bounds, now_of(0)), 2);
}

#[test]
fn a_kind_that_nobody_asks_for_shrinks_to_its_minimum_and_no_further() {
    let mut kind = KindView {
        minimum: 1,
        ..asked(0.1, 4 * MINUTE)
    };
    kind.idle = vec![
        idle(1, 9 * MINUTE, 20),
        idle(2, 8 * MINUTE, 20),
        idle(3, 7 * MINUTE, 20),
    ];
    assert!(
        plan(&view(vec![kind.clone()], Vec::new()), &bounds())
            .stop
            .is_empty()
    );
    kind.asked_at = Some(now_of(0) - 5 * MINUTE);
    let plan = plan(&view(vec![kind], Vec::new()), &bounds());
    let mut stopped = plan.stop;
    stopped.sort_unstable();
    assert_eq!(stopped, [(1, Reason::Idle), (2, Reason::Idle)]);
}

#[test]
fn a_loaded_instance_goes_after_its_idle_time() {
    let warm = vec![idle(1, 5 * MINUTE, 20), idle(2, 4 * MINUTE, 20)];
    let plan = plan(&view(Vec::new(), warm), &bounds());
    assert_eq!(plan.stop, [(1, Reason::Idle)]);
    assert_eq!(plan.look_at, Some(now_of(0) + TICK));
}

#[test]
fn the_least_recently_used_go_when_the_budget_is_reached() {
    let warm = vec![
        idle(1, MINUTE, 150),
        idle(2, 3 * MINUTE, 150),
        idle(3, 2 * MINUTE, 150),
    ];
    assert_eq!(
        plan(&view(Vec::new(), warm), &bounds()).stop,
        [(2, Reason::Budget)]
    );
}

#[test]
fn one_that_is_larger_than_the_budget_takes_no_other_with_it() {
    let warm = vec![
        idle(1, 3 * MINUTE, 10),
        idle(2, MINUTE, 500),
        idle(3, 2 * MINUTE, 10),
    ];
    assert_eq!(
        plan(&view(Vec::new(), warm), &bounds()).stop,
        [(2, Reason::Budget)]
    );
}

#[test]
fn there_are_no_more_idle_instances_than_allowed() {
    let warm = (0..101).map(|serial| idle(serial, MINUTE, 1)).collect();
    assert_eq!(
        plan(&view(Vec::new(), warm), &bounds()).stop,
        [(0, Reason::Budget)]
    );
}

#[test]
fn under_pressure_surplus_goes_first_then_the_loaded_then_the_blank_and_nothing_is_started() {
    let mut kind = KindView {
        minimum: 1,
        ..asked(1.5, Duration::ZERO)
    };
    kind.idle = vec![idle(1, 2 * MINUTE, 20), idle(2, MINUTE, 20)];
    let mut view = view(
        vec![kind, super::tests::kind(2)],
        vec![idle(3, MINUTE, 30), idle(4, 2 * MINUTE, 30)],
    );
    let mut stops = Vec::new();
    for shortfall in [1, 30, 60, 90, 1000] {
        view.shortfall = shortfall * MIB;
        let plan = plan(&view, &bounds());
        assert!(plan.refill.is_empty());
        stops.push(plan.stop.iter().map(|(serial, _)| *serial).collect::<Vec<_>>());
    }
    assert_eq!(
        stops,
        [
            vec![1],
            vec![1, 4],
            vec![1, 4, 3],
            vec![1, 4, 3, 2],
            vec![1, 4, 3, 2]
        ]
    );
}

#[test]
fn a_refill_takes_the_place_of_the_least_recently_used_loaded_instance() {
    let warm = vec![idle(1, MINUTE, 195), idle(2, 2 * MINUTE, 195)];
    let plan = plan(&view(vec![kind(1)], warm), &bounds());
    assert_eq!((plan.refill, plan.stop), (vec![0], vec![(2, Reason::Budget)]));
}

#[test]
fn blank_instances_take_at_most_half_of_the_budget() {
    let mut kind = asked(100.0, Duration::ZERO);
    kind.estimate = 90 * MIB;
    assert_eq!(plan(&view(vec![kind], Vec::new()), &bounds()).refill, [0, 0]);
}

#[test]
fn a_kind_whose_refills_fail_waits_for_its_time() {
    let mut kind = kind(1);
    kind.retry_at = Some(now_of(0) + Duration::from_millis(300));
    let waiting = plan(&view(vec![kind.clone()], Vec::new()), &bounds());
    assert_eq!((waiting.refill, waiting.look_at), (vec![], kind.retry_at));
    kind.retry_at = Some(now_of(0));
    assert_eq!(plan(&view(vec![kind], Vec::new()), &bounds()).refill, [0]);
}

#[test]
fn nothing_is_nothing_to_look_at() {
    assert_eq!(plan(&view(Vec::new(), Vec::new()), &bounds()), Plan::default());
}

fn some_idle() -> impl Strategy<Value = (u64, u64)> {
    (0_u64..600, 0_u64..300)
}

type SomeKind = (u32, f64, Option<u64>, Vec<(u64, u64)>, u32, u64);

fn some_kind() -> impl Strategy<Value = SomeKind> {
    (
        0_u32..4,
        0.0..100.0,
        proptest::option::of(0_u64..600),
        proptest::collection::vec(some_idle(), 0..6),
        0_u32..3,
        0_u64..200,
    )
}

prop_compose! {
    fn some_view()(
        kinds in proptest::collection::vec(some_kind(), 0..5),
        warm in proptest::collection::vec(some_idle(), 0..10),
        shortfall in prop_oneof![Just(0), 0_u64..500],
        running in 0_u32..4,
    ) -> View {
        let mut serial = 0;
        let mut next = |(ago, mib): (u64, u64)| {
            serial += 1;
            idle(serial, Duration::from_secs(ago), mib)
        };
        let kinds = kinds.into_iter().map(|(minimum, weight, ago, idle, refilling, estimate)| KindView {
            minimum,
            weight,
            asked_at: ago.map(|ago| now_of(0) - Duration::from_secs(ago)),
            idle: idle.into_iter().map(&mut next).collect(),
            refilling,
            joined: refilling.min(1),
            estimate: estimate * MIB,
            retry_at: None,
        }).collect();
        let warm = warm.into_iter().map(&mut next).collect();
        View { shortfall: shortfall * MIB, running, ..view(kinds, warm) }
    }
}

fn all(view: &View) -> Vec<Idle> {
    let blank = view.kinds.iter().flat_map(|kind| kind.idle.iter());
    blank.chain(&view.warm).copied().collect()
}

proptest! {
    #[test]
    fn what_stays_and_what_comes_fit_the_budget(view in some_view()) {
        let (bounds, plan) = (bounds(), plan(&view, &bounds()));
        let stopped: HashSet<u64> = plan.stop.iter().map(|(serial, _)| *serial).collect();
        prop_assert_eq!(stopped.len(), plan.stop.len(), "stopped twice");
        let stays: u64 = all(&view).iter().filter(|idle| !stopped.contains(&idle.serial)).map(|idle| idle.bytes).sum();
        let comes: u64 = plan.refill.iter().map(|at| view.kinds[*at].estimate).sum();
        let coming: u64 = view.kinds.iter().map(|kind| u64::from(kind.refilling) * kind.estimate).sum();
        prop_assert!(stays <= bounds.budget);
        if !plan.refill.is_empty() {
            prop_assert!(stays + comes + coming <= bounds.budget, "{} + {} + {}", stays, comes, coming);
        }
        let in_flight: u32 = view.kinds.iter().map(|kind| kind.refilling).sum();
        let refills = u32::try_from(plan.refill.len()).unwrap();
        prop_assert!(refills == 0 || in_flight + refills <= bounds.refills_max);
    }

    #[test]
    fn pressure_stops_enough_or_everything_and_starts_nothing(view in some_view()) {
        let plan = plan(&view, &bounds());
        if view.shortfall > 0 {
            prop_assert!(plan.refill.is_empty());
            let all = all(&view);
            let stopped = |idle: &&Idle| plan.stop.iter().any(|(serial, _)| *serial == idle.serial);
            let freed: u64 = all.iter().filter(stopped).map(|idle| idle.bytes).sum();
            prop_assert!(freed >= view.shortfall || plan.stop.len() == all.len());
        }
    }

    #[test]
    fn a_plan_that_is_carried_out_leaves_nothing_to_stop(view in some_view()) {
        let first = plan(&view, &bounds());
        let is_stopped = |idle: &Idle| first.stop.iter().any(|(serial, _)| *serial == idle.serial);
        let mut after = view;
        after.shortfall = 0;
        after.warm.retain(|idle| !is_stopped(idle));
        for kind in &mut after.kinds {
            kind.idle.retain(|idle| !is_stopped(idle));
            // Nothing is started in this test, so nothing has to make room.
            (kind.minimum, kind.weight) = (0, 0.0);
        }
        let second = plan(&after, &bounds());
        prop_assert!(second.stop.iter().all(|(_, reason)| *reason == Reason::Idle));
    }

    #[test]
    fn the_loaded_go_in_the_order_of_their_last_use(view in some_view()) {
        let plan = plan(&view, &bounds());
        let is_stopped = |idle: &Idle| plan.stop.iter().any(|(serial, _)| *serial == idle.serial);
        let ordinary = view.warm.iter().filter(|idle| idle.bytes <= bounds().budget);
        let (gone, stay): (Vec<&Idle>, Vec<&Idle>) = ordinary.partition(|idle| is_stopped(idle));
        for one in &gone {
            for other in &stay {
                prop_assert!(one.since <= other.since);
            }
        }
    }
}
