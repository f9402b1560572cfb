//! The task.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use vulcan_api::{ErrorCode, NodeName, Timestamp, WorkloadId};
use vulcan_bus::{Command, ControlEnd, NodeStatus, Report, StopReason, WorkloadReport, WorkloadState};

use super::{
    entry::{Entry, memory, name},
    message::{Message, Shared, Submit, SubmitError, SubmitReply, Submitted},
    recovery::Counting,
    writing::{Stage, Writing},
};
use crate::{
    causes::chain,
    scheduler::{Action, Event, Former, Need, NodeReport, Outcome, ReportKind, Scheduler, Submission},
    store::{self, Insert, Unfinished, Write, Written},
};

/// How often the scheduler is told that time passed.
const TICK: Duration = Duration::from_millis(100);

/// The task's state.
pub(crate) struct Driver {
    shared: Shared,
    scheduler: Scheduler,
    entries: HashMap<WorkloadId, Entry>,
    /// Who waits for the first write of a submission.
    replies: HashMap<WorkloadId, SubmitReply>,
    writing: FuturesUnordered<Writing>,
    bus: ControlEnd,
    /// Commands that found the bus full.
    backlog: VecDeque<Command>,
    caps: (usize, u64),
    epoch: Instant,
    counting: Counting,
    is_aborting: bool,
}

impl Driver {
    /// Makes a driver; `caps` are the most bytes of an output and of a log.
    pub(crate) fn new(shared: Shared, bus: ControlEnd, queue_len_max: usize, caps: (usize, u64)) -> Self {
        Self {
            shared,
            scheduler: Scheduler::new(queue_len_max),
            entries: HashMap::new(),
            replies: HashMap::new(),
            writing: FuturesUnordered::new(),
            bus,
            backlog: VecDeque::new(),
            caps,
            epoch: Instant::now(),
            counting: Counting::default(),
            is_aborting: false,
        }
    }

    /// Takes over what a former run left unfinished. Called before [`Driver::run`].
    pub(crate) fn restore(&mut self, unfinished: Vec<Unfinished>) {
        for old in unfinished {
            let program = old.program.map(Arc::new);
            let mut entry = Entry::new(old.record, program, None);
            entry.is_durable = entry.program.is_some();
            entry.may_run_again = old.is_idempotent && entry.is_durable;
            let submission = submission(&entry, false);
            // Without a program nothing says on record when it was placed, and it cannot be placed again.
            let former = if entry.is_durable && entry.record.node.is_none() {
                Former::Queued
            } else {
                Former::Placed
            };
            match former {
                Former::Queued => self.counting.requeued(),
                Former::Placed => self.counting.unconfirmed(submission.workload),
            }
            self.shared.board.put(submission.workload, entry.watch());
            self.entries.insert(submission.workload, entry);
            let actions = self
                .scheduler
                .restore(self.now(), submission, (former, old.generation));
            self.act(actions);
        }
        self.after_event();
    }

    /// Drives until `stop`; what is unfinished then is taken over by the next start.
    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Message>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_connected = true;
        let commands = self.bus.commands.clone();
        loop {
            // All branches are cancel-safe: each either takes one whole message or none.
            tokio::select! {
                Some(message) = inbox.recv() => self.message(message),
                report = self.bus.reports.recv(), if is_connected => match report {
                    Some(report) => self.report(report),
                    None => is_connected = false,
                },
                Some((workload, stage, result)) = self.writing.next() => self.written(workload, stage, result),
                permit = commands.reserve(), if !self.backlog.is_empty() => match (permit, self.backlog.pop_front()) {
                    (Ok(permit), Some(command)) => permit.send(command),
                    // Nobody is there to be told; what was assigned is found to be lost.
                    _ => self.backlog.clear(),
                },
                _ = tick.tick() => self.tick(),
                () = stop.cancelled() => break,
            }
            self.after_event();
        }
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    fn feed(&mut self, event: Event<'_>) {
        let actions = self.scheduler.handle(self.now(), event);
        self.act(actions);
    }

    fn after_event(&mut self) {
        let count = self.entries.len();
        self.shared
            .unfinished
            .send_if_modified(|shown| std::mem::replace(shown, count) != count);
        if self.scheduler.unconfirmed() == 0 && self.shared.recovery.borrow().is_none() {
            self.shared.recovery.send_replace(Some(self.counting.finish()));
        }
        self.shared.metrics.set_waiting(self.scheduler.waiting(), count);
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Submit(submit, reply) => self.submit(*submit, reply),
            Message::Kill(workload) => self.feed(Event::Stop {
                workload,
                reason: StopReason::Killed,
            }),
            Message::Abort => self.abort(),
        }
    }

    fn submit(&mut self, submit: Submit, reply: SubmitReply) {
        if self.is_aborting {
            drop(reply.send(Err(SubmitError::ShuttingDown)));
            return;
        }
        let workload = submit.record.id;
        // A record that a restart or a repeated request must find is stored before anything of it starts.
        let is_held = submit.is_async || submit.key.is_some();
        let mut entry = Entry::new(
            submit.record,
            Some(Arc::new(submit.program)),
            Some(submit.accepted_at),
        );
        entry.share = Some(submit.share);
        entry.is_durable = submit.is_async || submit.is_idempotent;
        entry.may_run_again = submit.is_idempotent;
        let actions = match self.scheduler.submit(self.now(), submission(&entry, is_held)) {
            Ok(actions) => actions,
            Err(refusal) => {
                drop(reply.send(Err(SubmitError::Refused(refusal))));
                return;
            }
        };
        entry.is_inserted = is_held || entry.is_durable;
        let insert = entry.is_inserted.then(|| Insert {
            record: Arc::clone(&entry.record),
            is_idempotent: submit.is_idempotent,
            program: entry.program.clone().filter(|_| entry.is_durable),
            key: submit.key,
        });
        let seen = entry.watch();
        self.shared.board.put(workload, seen.clone());
        self.entries.insert(workload, entry);
        self.act(actions);
        if let Some(insert) = insert {
            self.write(workload, Stage::Insert, Write::Insert(Box::new(insert)));
        }
        if is_held {
            self.replies.insert(workload, reply);
        } else {
            drop(reply.send(Ok(Submitted::New(seen))));
        }
    }

    /// Stops what runs. What is queued and survives a restart is left to the next start.
    fn abort(&mut self) {
        self.is_aborting = true;
        let all: Vec<(WorkloadId, bool)> = self
            .entries
            .iter()
            .map(|(id, entry)| (*id, entry.is_durable))
            .collect();
        for (workload, is_left) in all {
            if is_left && self.scheduler.is_queued(workload) {
                self.feed(Event::Withdrawn(workload));
                self.drop_entry(workload);
            } else {
                self.feed(Event::Stop {
                    workload,
                    reason: StopReason::Shutdown,
                });
            }
        }
    }

    fn write(&mut self, workload: WorkloadId, stage: Stage, write: Write) {
        let write = self.shared.store.write(write);
        self.writing.push(Writing {
            workload,
            stage,
            write,
        });
    }

    fn written(&mut self, workload: WorkloadId, stage: Stage, result: Result<Written, store::Error>) {
        match (stage, result) {
            (Stage::Insert, Ok(Written::Done)) => {
                if let (Some(reply), Some(entry)) =
                    (self.replies.remove(&workload), self.entries.get(&workload))
                {
                    drop(reply.send(Ok(Submitted::New(entry.watch()))));
                }
                self.feed(Event::Released(workload));
            }
            (
                Stage::Insert,
                Ok(Written::KeyTaken {
                    workload: earlier,
                    request_digest,
                }),
            ) => {
                let taken = Submitted::KeyTaken {
                    workload: earlier,
                    request_digest,
                };
                self.withdraw(workload, Ok(taken));
            }
            (Stage::Insert, Err(error)) => {
                tracing::error!(workload.id = name(workload), error = %chain(&error), "record could not be stored");
                if let Some(entry) = self.entries.get(&workload) {
                    entry.show_storage_failure(error.clone());
                }
                self.withdraw(workload, Err(SubmitError::Storage(error)));
            }
            (Stage::Placed { generation }, Ok(_)) => self.assign(workload, generation),
            (Stage::Placed { generation }, Err(error)) => {
                tracing::error!(workload.id = name(workload), error = %chain(&error), "placement could not be stored");
                self.feed(Event::Workload {
                    workload,
                    generation,
                    kind: ReportKind::Rejected,
                });
            }
            (Stage::PutBack, Ok(_)) => {}
            (Stage::PutBack, Err(error)) => {
                tracing::warn!(workload.id = name(workload), error = %chain(&error), "put-back could not be stored");
            }
            (Stage::End, Ok(_)) => self.ended(workload),
            (Stage::End, Err(error)) => {
                tracing::error!(workload.id = name(workload), error = %chain(&error), "end could not be stored");
                if let Some(entry) = self.entries.get_mut(&workload) {
                    entry.show_storage_failure(error);
                    entry.retry_later(Instant::now());
                }
            }
        }
    }

    fn withdraw(&mut self, workload: WorkloadId, answer: Result<Submitted, SubmitError>) {
        self.drop_entry(workload);
        self.feed(Event::Withdrawn(workload));
        if let Some(reply) = self.replies.remove(&workload) {
            drop(reply.send(answer));
        }
    }

    fn drop_entry(&mut self, workload: WorkloadId) {
        self.shared.board.remove(workload);
        self.entries.remove(&workload);
    }

    /// The end is on record: everybody may know.
    fn ended(&mut self, workload: WorkloadId) {
        if let Some(entry) = self.entries.get(&workload) {
            entry.show_end();
            if let Some(end) = &entry.end {
                self.shared.metrics.ended(end);
            }
        }
        self.drop_entry(workload);
        self.feed(Event::Stored(workload));
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Status(status) => self.status(&status),
            Report::Workload(report) => self.workload_report(*report),
        }
    }

    fn status(&mut self, status: &NodeStatus) {
        self.feed(Event::Node(NodeReport {
            node: &status.node,
            backends: &status.backends,
            workloads: &status.workloads,
        }));
        self.shared
            .inventory
            .send_modify(|inventory| Arc::make_mut(inventory).heard(status));
        self.shared
            .metrics
            .set_nodes(self.shared.inventory.borrow().nodes());
    }

    fn workload_report(&mut self, report: WorkloadReport) {
        let WorkloadReport {
            workload,
            generation,
            state,
        } = report;
        let kind = match state {
            WorkloadState::Rejected { reason } => {
                tracing::debug!(
                    workload.id = name(workload),
                    generation,
                    reason,
                    "workload rejected"
                );
                ReportKind::Rejected
            }
            WorkloadState::Running { started_at } => {
                self.running(workload, generation, started_at);
                ReportKind::Running
            }
            WorkloadState::Ended(end) => {
                let is_lost = end
                    .error
                    .as_ref()
                    .is_some_and(|error| error.code == ErrorCode::NodeRestarted);
                match self.entries.get_mut(&workload) {
                    Some(entry) if is_lost && entry.may_run_again => ReportKind::Lost,
                    Some(entry) if entry.end.is_none() && self.scheduler.is_current(workload, generation) => {
                        entry.reported = Some(end);
                        ReportKind::Ended
                    }
                    Some(_) | None => ReportKind::Ended,
                }
            }
        };
        self.feed(Event::Workload {
            workload,
            generation,
            kind,
        });
    }

    fn running(&mut self, workload: WorkloadId, generation: u32, started_at: Timestamp) {
        if self.scheduler.is_current(workload, generation)
            && let Some(entry) = self.entries.get_mut(&workload)
        {
            entry.show_running(started_at);
            self.insert(workload);
        }
    }

    /// Writes the record of a workload that did not end at once.
    fn insert(&mut self, workload: WorkloadId) {
        let Some(entry) = self.entries.get_mut(&workload) else {
            return;
        };
        if entry.is_inserted || entry.end.is_some() {
            return;
        }
        entry.is_inserted = true;
        let insert = Insert {
            record: Arc::clone(&entry.record),
            is_idempotent: false,
            program: None,
            key: None,
        };
        self.write(workload, Stage::Insert, Write::Insert(Box::new(insert)));
    }

    fn tick(&mut self) {
        self.feed(Event::Tick);
        let now = Instant::now();
        let due: Vec<(WorkloadId, Write)> = self
            .entries
            .iter_mut()
            .filter(|(_, entry)| entry.retry_at.is_some_and(|at| at <= now))
            .filter_map(|(id, entry)| {
                entry.retry_at = None;
                entry.end.clone().map(|end| (*id, entry.end_write(end)))
            })
            .collect();
        for (workload, write) in due {
            self.write(workload, Stage::End, write);
        }
        let uninserted = self.entries.iter().filter(|(_, entry)| entry.is_insert_due(now));
        for workload in uninserted.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.insert(workload);
        }
        let (scheduler, elapsed) = (&self.scheduler, self.epoch.elapsed());
        self.shared.inventory.send_if_modified(|inventory| {
            Arc::make_mut(inventory).silence(|node| scheduler.is_ready(elapsed, node))
        });
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Assign {
                    workload,
                    generation,
                    node,
                } => self.placed(workload, generation, node),
                Action::Stop { workload, reason } => self.send(Command::Stop { workload, reason }),
                Action::Acknowledge { workload, generation } => {
                    self.send(Command::Acknowledge { workload, generation });
                }
                Action::PutBack(workload) => self.put_back(workload),
                Action::RecordReported(workload) => self.record_reported(workload),
                Action::RecordOutcome { workload, outcome } => self.record_outcome(workload, outcome),
            }
        }
    }

    fn put_back(&mut self, workload: WorkloadId) {
        self.counting.put_back(workload);
        let Some(entry) = self.entries.get_mut(&workload) else {
            return;
        };
        entry.show_pending();
        if entry.is_durable {
            let generation = self.scheduler.generation(workload);
            self.write(
                workload,
                Stage::PutBack,
                Write::Placed {
                    workload,
                    generation,
                    node: None,
                },
            );
        }
    }

    /// Sends a placed workload off. One that a restart places again is marked before, so that it never runs twice.
    fn placed(&mut self, workload: WorkloadId, generation: u32, node: NodeName) {
        let Some(entry) = self.entries.get_mut(&workload) else {
            return;
        };
        entry.set_node(node.clone());
        if entry.is_durable {
            let placed = Write::Placed {
                workload,
                generation,
                node: Some(node),
            };
            self.write(workload, Stage::Placed { generation }, placed);
        } else {
            self.assign(workload, generation);
        }
    }

    fn assign(&mut self, workload: WorkloadId, generation: u32) {
        if self.scheduler.is_stopping(workload) {
            // The node was told to stop it and did not know it: it must not come to know it now.
            self.feed(Event::Workload {
                workload,
                generation,
                kind: ReportKind::Rejected,
            });
            return;
        }
        let current = self
            .entries
            .get(&workload)
            .filter(|_| self.scheduler.is_current(workload, generation));
        if let Some(assignment) = current.and_then(|entry| entry.assignment(generation, self.caps)) {
            self.send(Command::Assign(Box::new(assignment)));
        }
    }

    fn send(&mut self, command: Command) {
        if !self.backlog.is_empty() {
            self.backlog.push_back(command);
            return;
        }
        if let Err(mpsc::error::TrySendError::Full(command)) = self.bus.commands.try_send(command) {
            self.backlog.push_back(command);
        }
    }

    fn record_reported(&mut self, workload: WorkloadId) {
        let Some(entry) = self.entries.get_mut(&workload) else {
            return;
        };
        if let Some(end) = entry.end_reported(Instant::now()) {
            let write = entry.end_write(end);
            self.write(workload, Stage::End, write);
        }
    }

    fn record_outcome(&mut self, workload: WorkloadId, outcome: Outcome) {
        self.counting.ended(workload);
        let wall = self.shared.clock.now();
        if let Some(entry) = self.entries.get_mut(&workload) {
            let end = entry.end_unreported(Instant::now(), wall, outcome);
            let write = entry.end_write(end);
            self.write(workload, Stage::End, write);
        }
    }
}

fn submission(entry: &Entry, is_held: bool) -> Submission {
    let record = &entry.record;
    Submission {
        workload: record.id,
        need: Need {
            isolation: record
                .isolation_used
                .unwrap_or(vulcan_api::IsolationClass::Sandbox),
            runtime: record.runtime,
            has_image: record.image.is_some(),
        },
        mem_mb: memory(&record.resources),
        may_run_again: entry.may_run_again,
        is_held,
    }
}
