//! The state machine.
//!
//! ```text
//! held ──release──▶ queued ──place──▶ assigned ──ended──▶ ending ──stored──▶ (gone)
//!   │                 ▲  │               │  │               ▲
//!   └─withdraw        │  └─kill──────────┼──┼───────────────┤
//!                     └──rejected | lost─┘  └─lost──────────┘
//! unconfirmed (after a restart) ──listed──▶ assigned
//!        └──not listed──▶ queued where it may run again, otherwise ending
//! ```

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use vulcan_api::{NodeName, WorkloadId};
use vulcan_bus::StopReason;

use super::{
    events::{Action, Event, Former, NodeReport, Outcome, Refusal, ReportKind, Submission},
    nodes::{Choice, Need, Nodes},
};

/// What is not in a node's list so long after it was assigned is lost: a list may be older than the assignment.
pub(crate) const LOST_AFTER: Duration = Duration::from_secs(5);
/// The longest that a workload waits for a node.
pub(crate) const QUEUE_WAIT_MAX: Duration = Duration::from_secs(600);
/// How long a stop may go unanswered before it is sent again.
const STOP_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How long after a restart the nodes have to say what they still have.
const CONFIRM_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Held,
    Queued { since: Duration },
    Assigned { node: NodeName, since: Duration },
    Unconfirmed { since: Duration },
    Ending,
}

#[derive(Debug)]
struct Item {
    need: Need,
    mem_mb: u32,
    may_run_again: bool,
    /// The order of arrival, kept over put-backs.
    sequence: u64,
    /// The newest assignment; 0 before the first.
    generation: u32,
    phase: Phase,
    /// Why it is being stopped, and when the node was last told.
    stopping: Option<(StopReason, Duration)>,
    /// Whether the end came from a node that waits for an acknowledgement.
    is_reported: bool,
}

/// The state machine.
#[derive(Debug)]
pub(crate) struct Scheduler {
    queue_len_max: usize,
    items: HashMap<WorkloadId, Item>,
    queues: HashMap<Need, BTreeMap<u64, WorkloadId>>,
    /// Held and queued ones.
    waiting: usize,
    unconfirmed: usize,
    sequence: u64,
    nodes: Nodes,
}

impl Scheduler {
    /// Makes a scheduler whose queue holds at most `queue_len_max` workloads.
    #[must_use]
    pub(crate) fn new(queue_len_max: usize) -> Self {
        Self {
            queue_len_max,
            items: HashMap::new(),
            queues: HashMap::new(),
            waiting: 0,
            unconfirmed: 0,
            sequence: 0,
            nodes: Nodes::default(),
        }
    }

    /// Returns how many workloads wait for a node.
    #[must_use]
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Returns how many workloads of a former run no node has spoken about yet.
    #[must_use]
    pub(crate) const fn unconfirmed(&self) -> usize {
        self.unconfirmed
    }

    /// Returns whether a node takes workloads.
    #[must_use]
    pub(crate) fn is_ready(&self, now: Duration, node: &NodeName) -> bool {
        self.nodes.is_ready(now, node)
    }

    /// Returns whether a workload waits for a node.
    #[must_use]
    pub(crate) fn is_queued(&self, workload: WorkloadId) -> bool {
        self.items
            .get(&workload)
            .is_some_and(|item| matches!(item.phase, Phase::Queued { .. }))
    }

    /// Returns whether this is the assignment that counts: one that is neither over nor replaced.
    #[must_use]
    pub(crate) fn is_current(&self, workload: WorkloadId, generation: u32) -> bool {
        self.items.get(&workload).is_some_and(|item| match item.phase {
            Phase::Assigned { .. } => item.generation == generation,
            Phase::Unconfirmed { .. } => item.generation <= generation,
            Phase::Held | Phase::Queued { .. } | Phase::Ending => false,
        })
    }

    /// Returns the newest assignment of a workload; 0 before the first.
    #[must_use]
    pub(crate) fn generation(&self, workload: WorkloadId) -> u32 {
        self.items.get(&workload).map_or(0, |item| item.generation)
    }

    /// Returns whether somebody wants it to end.
    #[must_use]
    pub(crate) fn is_stopping(&self, workload: WorkloadId) -> bool {
        self.items
            .get(&workload)
            .is_some_and(|item| item.stopping.is_some())
    }

    /// Takes a workload in.
    ///
    /// # Errors
    ///
    /// A [`Refusal`]; nothing of it is kept then.
    pub(crate) fn submit(&mut self, now: Duration, new: Submission) -> Result<Vec<Action>, Refusal> {
        if self.waiting >= self.queue_len_max {
            return Err(Refusal::QueueFull {
                waiting: self.waiting,
            });
        }
        if let Some(mem_mb_max) = self.nodes.mem_max(new.need)
            && u64::from(new.mem_mb) > mem_mb_max
        {
            return Err(Refusal::TooLarge { mem_mb_max });
        }
        let phase = if new.is_held {
            Phase::Held
        } else {
            Phase::Queued { since: now }
        };
        self.insert(new, 0, phase);
        Ok(self.dispatch(now))
    }

    /// Takes in a workload of a former run, whatever the length of the queue. What may be on a node waits until the nodes
    /// have spoken.
    pub(crate) fn restore(
        &mut self,
        now: Duration,
        old: Submission,
        (former, generation): (Former, u32),
    ) -> Vec<Action> {
        let phase = match former {
            Former::Queued => Phase::Queued { since: now },
            Former::Placed => Phase::Unconfirmed { since: now },
        };
        self.insert(old, generation, phase);
        self.dispatch(now)
    }

    /// Takes in an event, and returns what to do, in this order.
    pub(crate) fn handle(&mut self, now: Duration, event: Event<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Released(workload) => self.release(now, workload, &mut actions),
            Event::Withdrawn(workload) | Event::Stored(workload) => self.forget(workload, &mut actions),
            Event::Node(report) => self.node_report(now, report, &mut actions),
            Event::Workload {
                workload,
                generation,
                kind,
            } => {
                self.workload_report(now, (workload, generation), kind, &mut actions);
            }
            Event::Stop { workload, reason } => self.stop(now, workload, reason, &mut actions),
            Event::Tick => self.tick(now, &mut actions),
        }
        actions.extend(self.dispatch(now));
        actions
    }

    fn insert(&mut self, new: Submission, generation: u32, phase: Phase) {
        self.sequence += 1;
        let sequence = self.sequence;
        match phase {
            Phase::Held => self.waiting += 1,
            Phase::Queued { .. } => {
                self.waiting += 1;
                self.queues
                    .entry(new.need)
                    .or_default()
                    .insert(sequence, new.workload);
            }
            Phase::Unconfirmed { .. } => self.unconfirmed += 1,
            Phase::Assigned { .. } | Phase::Ending => {}
        }
        let item = Item {
            need: new.need,
            mem_mb: new.mem_mb,
            may_run_again: new.may_run_again,
            sequence,
            generation,
            phase,
            stopping: None,
            is_reported: false,
        };
        self.items.insert(new.workload, item);
    }

    fn release(&mut self, now: Duration, workload: WorkloadId, actions: &mut Vec<Action>) {
        if self
            .items
            .get(&workload)
            .is_some_and(|item| item.phase == Phase::Held)
        {
            self.enter(workload, Phase::Queued { since: now });
            if let Some((reason, _)) = self.items.get(&workload).and_then(|item| item.stopping) {
                self.end(workload, Outcome::StoppedBeforeStart(reason), actions);
            }
        }
    }

    fn forget(&mut self, workload: WorkloadId, actions: &mut Vec<Action>) {
        let Some(item) = self.items.get(&workload) else {
            return;
        };
        if item.is_reported {
            actions.push(Action::Acknowledge {
                workload,
                generation: item.generation,
            });
        } else if let Phase::Assigned { .. } = item.phase {
            actions.push(Action::Stop {
                workload,
                reason: StopReason::Killed,
            });
        }
        self.enter(workload, Phase::Ending);
        self.items.remove(&workload);
    }

    /// Moves a workload to another phase; the one place that keeps counts, queues and promises in step.
    fn enter(&mut self, workload: WorkloadId, phase: Phase) {
        let Some(item) = self.items.get_mut(&workload) else {
            return;
        };
        let old = std::mem::replace(&mut item.phase, phase);
        match &old {
            Phase::Held => self.waiting -= 1,
            Phase::Queued { .. } => {
                self.waiting -= 1;
                if let Some(queue) = self.queues.get_mut(&item.need) {
                    queue.remove(&item.sequence);
                }
            }
            Phase::Assigned { node, .. } => self.nodes.give_back(node, item.mem_mb),
            Phase::Unconfirmed { .. } => self.unconfirmed -= 1,
            Phase::Ending => {}
        }
        match &item.phase {
            Phase::Held => self.waiting += 1,
            Phase::Queued { .. } => {
                self.waiting += 1;
                self.queues
                    .entry(item.need)
                    .or_default()
                    .insert(item.sequence, workload);
            }
            Phase::Assigned { node, .. } => self.nodes.take(node, item.mem_mb),
            Phase::Unconfirmed { .. } => self.unconfirmed += 1,
            Phase::Ending => {}
        }
    }

    /// Places what can be placed, the oldest first. Where the oldest waits for room, nothing younger overtakes it.
    fn dispatch(&mut self, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut held_back: Vec<NodeName> = Vec::new();
        let mut blocked: Vec<Need> = Vec::new();
        while let Some((need, workload)) = self.oldest(&blocked) {
            let mem_mb = self.items.get(&workload).map_or(0, |item| item.mem_mb);
            match self.nodes.choose(now, need, mem_mb, &held_back) {
                Choice::Place(node) => actions.push(self.place(now, workload, node)),
                Choice::Wait(for_room) => {
                    held_back.extend(for_room);
                    blocked.push(need);
                }
            }
        }
        actions
    }

    fn oldest(&self, blocked: &[Need]) -> Option<(Need, WorkloadId)> {
        self.queues
            .iter()
            .filter(|(need, _)| !blocked.contains(need))
            .filter_map(|(need, queue)| {
                queue
                    .first_key_value()
                    .map(|(sequence, id)| (*sequence, *need, *id))
            })
            .min_by_key(|(sequence, _, _)| *sequence)
            .map(|(_, need, id)| (need, id))
    }

    fn place(&mut self, now: Duration, workload: WorkloadId, node: NodeName) -> Action {
        self.enter(
            workload,
            Phase::Assigned {
                node: node.clone(),
                since: now,
            },
        );
        let generation = self.items.get_mut(&workload).map_or(0, |item| {
            item.generation += 1;
            item.generation
        });
        Action::Assign {
            workload,
            generation,
            node,
        }
    }

    fn workload_report(
        &mut self,
        now: Duration,
        (workload, generation): (WorkloadId, u32),
        kind: ReportKind,
        actions: &mut Vec<Action>,
    ) {
        self.confirm_generation(workload, generation);
        let current = self
            .items
            .get(&workload)
            .filter(|item| item.generation == generation);
        let Some(item) = current else {
            // The record was stored, deleted or placed anew: all that is left to say is that the node may forget it.
            if matches!(kind, ReportKind::Ended | ReportKind::Lost) {
                actions.push(Action::Acknowledge { workload, generation });
            }
            return;
        };
        match (&item.phase, kind) {
            (Phase::Assigned { node, .. }, ReportKind::Rejected) => {
                let node = node.clone();
                self.put_back(now, workload, actions);
                self.nodes.refused(now, &node);
            }
            (Phase::Assigned { .. } | Phase::Unconfirmed { .. }, ReportKind::Ended) => {
                if let Some(item) = self.items.get_mut(&workload) {
                    item.is_reported = true;
                }
                self.enter(workload, Phase::Ending);
                actions.push(Action::RecordReported(workload));
            }
            (Phase::Unconfirmed { .. }, ReportKind::Rejected) => self.put_back(now, workload, actions),
            (Phase::Assigned { .. } | Phase::Unconfirmed { .. }, ReportKind::Lost) => {
                actions.push(Action::Acknowledge { workload, generation });
                self.lose(now, workload, actions);
            }
            (Phase::Ending, ReportKind::Ended | ReportKind::Lost) => {
                // Its end is being stored already, by an earlier report or as lost: acknowledged once that is done.
                if let Some(item) = self.items.get_mut(&workload) {
                    item.is_reported = true;
                }
            }
            (_, ReportKind::Running)
            | (
                Phase::Held | Phase::Queued { .. },
                ReportKind::Rejected | ReportKind::Ended | ReportKind::Lost,
            )
            | (Phase::Ending, ReportKind::Rejected) => {}
        }
    }

    /// Takes a node's word for the generation of a workload of a former run: not every placement is on record.
    fn confirm_generation(&mut self, workload: WorkloadId, generation: u32) {
        if let Some(item) = self.items.get_mut(&workload)
            && matches!(item.phase, Phase::Unconfirmed { .. })
        {
            item.generation = item.generation.max(generation);
        }
    }

    /// Queues a workload anew that nothing was started of, or ends it where it was to be stopped.
    fn put_back(&mut self, now: Duration, workload: WorkloadId, actions: &mut Vec<Action>) {
        let stopping = self.items.get(&workload).and_then(|item| item.stopping);
        if let Some((reason, _)) = stopping {
            self.end(workload, Outcome::StoppedBeforeStart(reason), actions);
        } else {
            self.enter(workload, Phase::Queued { since: now });
            actions.push(Action::PutBack(workload));
        }
    }

    fn end(&mut self, workload: WorkloadId, outcome: Outcome, actions: &mut Vec<Action>) {
        self.enter(workload, Phase::Ending);
        actions.push(Action::RecordOutcome { workload, outcome });
    }

    fn lose(&mut self, now: Duration, workload: WorkloadId, actions: &mut Vec<Action>) {
        let Some(item) = self.items.get(&workload) else {
            return;
        };
        match (item.stopping, item.may_run_again) {
            (None, true) => self.put_back(now, workload, actions),
            (None, false) => self.end(workload, Outcome::Lost, actions),
            (Some((reason, _)), _) => self.end(workload, Outcome::StoppedBeforeStart(reason), actions),
        }
    }

    fn stop(&mut self, now: Duration, workload: WorkloadId, reason: StopReason, actions: &mut Vec<Action>) {
        let Some(item) = self.items.get_mut(&workload) else {
            return;
        };
        match item.phase {
            Phase::Queued { .. } => self.end(workload, Outcome::StoppedBeforeStart(reason), actions),
            Phase::Assigned { .. } | Phase::Unconfirmed { .. } => {
                item.stopping = Some((item.stopping.map_or(reason, |(first, _)| first), now));
                actions.push(Action::Stop { workload, reason });
            }
            Phase::Held => item.stopping = Some((reason, now)),
            Phase::Ending => {}
        }
    }

    fn node_report(&mut self, now: Duration, report: NodeReport<'_>, actions: &mut Vec<Action>) {
        let name = &report.node.name;
        self.nodes.heard(
            now,
            name,
            (report.node.ready, report.node.capacity),
            report.backends,
        );
        let listed: HashMap<WorkloadId, u32> = report.workloads.iter().copied().collect();
        for workload in self.missing(now, name, &listed) {
            self.lose(now, workload, actions);
        }
        for seen in report.workloads {
            self.listed(now, name, *seen, actions);
        }
    }

    /// Returns what is believed to be on a node and is not in its list.
    fn missing(&self, now: Duration, name: &NodeName, listed: &HashMap<WorkloadId, u32>) -> Vec<WorkloadId> {
        let mut missing: Vec<(u64, WorkloadId)> = self
            .items
            .iter()
            .filter(|(id, item)| match &item.phase {
                Phase::Assigned { node, since } => {
                    node == name
                        && now.saturating_sub(*since) >= LOST_AFTER
                        && listed.get(id) != Some(&item.generation)
                }
                // One node today: what it does not list, nobody has.
                Phase::Unconfirmed { .. } => !listed.contains_key(id),
                Phase::Held | Phase::Queued { .. } | Phase::Ending => false,
            })
            .map(|(id, item)| (item.sequence, *id))
            .collect();
        missing.sort_unstable();
        missing.into_iter().map(|(_, id)| id).collect()
    }

    fn listed(&mut self, now: Duration, name: &NodeName, seen: (WorkloadId, u32), actions: &mut Vec<Action>) {
        let (workload, generation) = seen;
        match self.items.get(&workload) {
            // Nobody waits for it: its record is gone, or ended while the control plane was away.
            None => actions.push(Action::Stop {
                workload,
                reason: StopReason::Killed,
            }),
            Some(item) if matches!(item.phase, Phase::Unconfirmed { .. }) => {
                self.confirm_generation(workload, generation);
                self.enter(
                    workload,
                    Phase::Assigned {
                        node: name.clone(),
                        since: now,
                    },
                );
            }
            Some(_) => {}
        }
    }

    fn tick(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let lost_nodes = self.nodes.lost(now);
        let mut due: Vec<(u64, WorkloadId, Due)> = self
            .items
            .iter()
            .filter_map(|(id, item)| item.due(now, &lost_nodes).map(|due| (item.sequence, *id, due)))
            .collect();
        due.sort_unstable_by_key(|(sequence, _, _)| *sequence);
        for (_, workload, due) in due {
            match due {
                Due::Lost => self.lose(now, workload, actions),
                Due::WaitedTooLong => self.end(workload, Outcome::WaitedTooLong, actions),
                Due::StopAgain(reason) => self.stop(now, workload, reason, actions),
            }
        }
    }
}

/// What became due for a workload because time passed.
#[derive(Debug, Clone, Copy)]
enum Due {
    Lost,
    WaitedTooLong,
    StopAgain(StopReason),
}

impl Item {
    fn due(&self, now: Duration, lost_nodes: &[NodeName]) -> Option<Due> {
        match &self.phase {
            Phase::Assigned { node, .. } if lost_nodes.contains(node) => Some(Due::Lost),
            Phase::Unconfirmed { since } if now.saturating_sub(*since) >= CONFIRM_WITHIN => Some(Due::Lost),
            Phase::Queued { since } if now.saturating_sub(*since) >= QUEUE_WAIT_MAX => {
                Some(Due::WaitedTooLong)
            }
            Phase::Assigned { .. } | Phase::Unconfirmed { .. } => self
                .stopping
                .filter(|(_, told_at)| now.saturating_sub(*told_at) >= STOP_AGAIN_AFTER)
                .map(|(reason, _)| Due::StopAgain(reason)),
            Phase::Held | Phase::Queued { .. } | Phase::Ending => None,
        }
    }
}
