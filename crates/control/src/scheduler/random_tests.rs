//! A world of two moody nodes, seeded: whatever happens in whatever order, every workload ends exactly once on record, and
//! none that must not run twice does.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use vulcan_api::{NodeName, WorkloadId};
use vulcan_bus::StopReason;

use super::{
    Action, Event, ReportKind, Scheduler, Submission,
    fixture::{FakeNode, id, submission},
};

const SEEDS: u64 = 300;
const WORKLOADS: u32 = 30;
const STEPS_MAX: usize = 40_000;

/// xorshift64*: enough to mix events, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum There {
    Running,
    Ended,
}

struct Node {
    fake: FakeNode,
    has: BTreeMap<WorkloadId, (u32, There)>,
}

struct World {
    random: Random,
    scheduler: Scheduler,
    now: Duration,
    nodes: Vec<Node>,
    to_submit: Vec<Submission>,
    may_run_again: BTreeSet<WorkloadId>,
    /// Writes of ends on their way.
    storing: Vec<WorkloadId>,
    held: Vec<WorkloadId>,
    live: BTreeSet<WorkloadId>,
    /// How often code of it ran, and how often its end was recorded.
    ran: HashMap<WorkloadId, u32>,
    recorded: HashMap<WorkloadId, u32>,
    assigned_to: HashMap<WorkloadId, usize>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let nodes = ["newt", "toad"]
            .into_iter()
            .map(|name| Node {
                fake: FakeNode::new(name, 3, 500),
                has: BTreeMap::new(),
            })
            .collect();
        let to_submit: Vec<Submission> = (0..WORKLOADS)
            .map(|number| Submission {
                may_run_again: random.chance(40),
                is_held: random.chance(50),
                ..submission(number)
            })
            .collect();
        let may_run_again = to_submit
            .iter()
            .filter(|new| new.may_run_again)
            .map(|new| new.workload)
            .collect();
        Self {
            random,
            scheduler: Scheduler::new(10),
            now: Duration::ZERO,
            nodes,
            to_submit,
            may_run_again,
            storing: Vec::new(),
            held: Vec::new(),
            live: BTreeSet::new(),
            ran: HashMap::new(),
            recorded: HashMap::new(),
            assigned_to: HashMap::new(),
        }
    }

    fn feed(&mut self, event: Event<'_>) {
        let actions = self.scheduler.handle(self.now, event);
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Assign {
                    workload,
                    generation,
                    node,
                } => self.assign(workload, generation, &node),
                Action::Stop { workload, .. } => self.stop_on_node(workload),
                Action::Acknowledge { workload, generation } => {
                    for node in &mut self.nodes {
                        if node.has.get(&workload) == Some(&(generation, There::Ended))
                            && self.random.chance(80)
                        {
                            node.has.remove(&workload);
                        }
                    }
                }
                Action::PutBack(_) => {}
                Action::RecordReported(workload) | Action::RecordOutcome { workload, .. } => {
                    assert!(!self.storing.contains(&workload), "{workload} ends twice");
                    self.storing.push(workload);
                }
            }
        }
    }

    fn assign(&mut self, workload: WorkloadId, generation: u32, node: &NodeName) {
        let index = self
            .nodes
            .iter()
            .position(|there| there.fake.info.name == *node)
            .unwrap();
        self.assigned_to.insert(workload, index);
        if self.random.chance(5) {
            return; // The message got lost.
        }
        if self.random.chance(15) {
            self.feed(Event::Workload {
                workload,
                generation,
                kind: ReportKind::Rejected,
            });
            return;
        }
        let there = &mut self.nodes[index];
        if there
            .has
            .get(&workload)
            .is_none_or(|(known, _)| *known < generation)
        {
            there.has.insert(workload, (generation, There::Running));
            *self.ran.entry(workload).or_default() += 1;
        }
    }

    fn stop_on_node(&mut self, workload: WorkloadId) {
        if self.random.chance(20) {
            return; // The message got lost.
        }
        for node in &mut self.nodes {
            if let Some((_, state)) = node.has.get_mut(&workload) {
                *state = There::Ended;
            }
        }
    }

    fn step(&mut self) {
        self.now += Duration::from_millis(self.random.below(400));
        match self.random.below(9) {
            0 => self.submit(),
            1 => self.release(),
            2 => self.store(),
            3 | 4 => self.node_status(),
            5 | 6 => self.node_report(),
            7 => self.mishap(),
            _ => self.feed(Event::Tick),
        }
    }

    fn submit(&mut self) {
        let Some(new) = self.to_submit.last().copied() else {
            return;
        };
        let Ok(actions) = self.scheduler.submit(self.now, new) else {
            return;
        };
        self.to_submit.pop();
        self.live.insert(new.workload);
        if new.is_held {
            self.held.push(new.workload);
        }
        self.act(actions);
    }

    fn release(&mut self) {
        if let Some(workload) = self.held.pop() {
            self.feed(Event::Released(workload));
        }
    }

    fn store(&mut self) {
        if self.storing.is_empty() {
            return;
        }
        let index = usize::try_from(self.random.below(self.storing.len() as u64)).unwrap();
        let workload = self.storing.swap_remove(index);
        *self.recorded.entry(workload).or_default() += 1;
        self.live.remove(&workload);
        self.feed(Event::Stored(workload));
    }

    fn some_node(&mut self) -> usize {
        usize::try_from(self.random.below(2)).unwrap()
    }

    fn node_status(&mut self) {
        let index = self.some_node();
        let listed: Vec<(WorkloadId, u32)> = self.nodes[index]
            .has
            .iter()
            .map(|(workload, (generation, _))| (*workload, *generation))
            .collect();
        let actions = self.nodes[index]
            .fake
            .report(&mut self.scheduler, self.now, &listed);
        self.act(actions);
    }

    fn node_report(&mut self) {
        let index = self.some_node();
        let all: Vec<WorkloadId> = self.nodes[index].has.keys().copied().collect();
        if all.is_empty() {
            return;
        }
        let workload = all[usize::try_from(self.random.below(all.len() as u64)).unwrap()];
        let ends = self.random.chance(50);
        let entry = self.nodes[index].has.get_mut(&workload).unwrap();
        if ends {
            entry.1 = There::Ended;
        }
        let (generation, state) = *entry;
        let kind = if state == There::Ended {
            ReportKind::Ended
        } else {
            ReportKind::Running
        };
        self.feed(Event::Workload {
            workload,
            generation,
            kind,
        });
    }

    /// A kill, or a node that is restarted and forgets everything.
    fn mishap(&mut self) {
        if self.random.chance(20) {
            let index = self.some_node();
            self.nodes[index].has.clear();
        } else if self.random.chance(20) {
            let number = u32::try_from(self.random.below(u64::from(WORKLOADS))).unwrap();
            self.feed(Event::Stop {
                workload: id(number),
                reason: StopReason::Killed,
            });
        }
    }

    fn is_over(&self) -> bool {
        self.to_submit.is_empty() && self.live.is_empty()
    }
}

#[test]
fn nothing_is_lost_and_nothing_is_done_twice() {
    for seed in 1..=SEEDS {
        let mut world = World::new(seed);
        let mut steps = 0;
        while !world.is_over() {
            steps += 1;
            assert!(steps < STEPS_MAX, "seed {seed}: never over: {:?}", world.live);
            world.step();
        }
        assert_eq!(world.recorded.len(), WORKLOADS as usize, "seed {seed}");
        assert!(
            world.recorded.values().all(|count| *count == 1),
            "seed {seed}: recorded twice"
        );
        for (workload, count) in &world.ran {
            assert!(
                *count <= 1 || world.may_run_again.contains(workload),
                "seed {seed}: {workload} ran {count} times"
            );
        }
        assert_eq!(
            world.scheduler.waiting(),
            0,
            "seed {seed}: the count of waiting ones drifts"
        );
    }
}
