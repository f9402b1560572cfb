//! The rules, one story per row: what happens, and what the scheduler wants done at each step.

use std::{fmt::Write as _, time::Duration};

use vulcan_bus::StopReason;

use super::{
    Action, Event, Former, ReportKind, Scheduler, Submission,
    fixture::{FakeNode, GO, id, number, submission},
    machine::{LOST_AFTER, QUEUE_WAIT_MAX},
    nodes::{NODE_LOST_AFTER, NODE_SILENT_AFTER},
};

const QUEUE_LEN_MAX: usize = 2;

struct Story {
    scheduler: Scheduler,
    node: FakeNode,
    now: Duration,
    text: String,
}

/// Begins with a node that has room for two instances and 250 MiB.
fn story(title: &str) -> Story {
    let mut story = Story {
        scheduler: Scheduler::new(QUEUE_LEN_MAX),
        node: FakeNode::new("newt", 2, 250),
        now: Duration::ZERO,
        text: format!("{title}\n"),
    };
    let node = FakeNode::new("newt", 2, 250);
    node.report(&mut story.scheduler, story.now, &[]);
    story
}

impl Story {
    fn note(mut self, what: &str, actions: &[Action]) -> Self {
        let list: Vec<String> = actions.iter().map(show).collect();
        let list = if list.is_empty() {
            "-".to_owned()
        } else {
            list.join(", ")
        };
        writeln!(self.text, "  {what} → {list}").unwrap();
        self
    }

    fn submit(mut self, what: &str, submission: Submission) -> Self {
        match self.scheduler.submit(self.now, submission) {
            Ok(actions) => self.note(what, &actions),
            Err(refusal) => {
                writeln!(self.text, "  {what} → refused: {refusal:?}").unwrap();
                self
            }
        }
    }

    fn event(mut self, what: &str, event: Event<'_>) -> Self {
        let actions = self.scheduler.handle(self.now, event);
        self.note(what, &actions)
    }

    fn says(self, number: u32, generation: u32, kind: ReportKind) -> Self {
        let what = format!("node: {number}/{generation} {kind:?}");
        self.event(
            &what,
            Event::Workload {
                workload: id(number),
                generation,
                kind,
            },
        )
    }

    fn stop(self, number: u32) -> Self {
        let stop = Event::Stop {
            workload: id(number),
            reason: StopReason::Killed,
        };
        self.event(&format!("kill {number}"), stop)
    }

    fn stored(self, number: u32) -> Self {
        self.event(&format!("end of {number} stored"), Event::Stored(id(number)))
    }

    fn status(mut self, listed: &[(u32, u32)]) -> Self {
        let workloads: Vec<_> = listed
            .iter()
            .map(|(number, generation)| (id(*number), *generation))
            .collect();
        let actions = self.node.report(&mut self.scheduler, self.now, &workloads);
        self.note(&format!("node lists {listed:?}"), &actions)
    }

    fn after(mut self, pause: Duration) -> Self {
        self.now += pause;
        self.event(&format!("tick after {pause:?}"), Event::Tick)
    }

    fn restore(mut self, number: u32, may_run_again: bool, former: Former, generation: u32) -> Self {
        let old = Submission {
            may_run_again,
            ..submission(number)
        };
        let actions = self.scheduler.restore(self.now, old, (former, generation));
        self.note(
            &format!("restore {number} {former:?}/{generation} again={may_run_again}"),
            &actions,
        )
    }
}

fn show(action: &Action) -> String {
    match action {
        Action::Assign {
            workload,
            generation,
            node,
        } => format!("assign {}/{generation} to {node}", number(*workload)),
        Action::Stop { workload, reason } => format!("stop {} ({reason:?})", number(*workload)),
        Action::Acknowledge { workload, generation } => {
            format!("acknowledge {}/{generation}", number(*workload))
        }
        Action::PutBack(workload) => format!("put back {}", number(*workload)),
        Action::RecordReported(workload) => format!("record end of {}", number(*workload)),
        Action::RecordOutcome { workload, outcome } => format!("record {} as {outcome:?}", number(*workload)),
    }
}

#[test]
fn the_rules_of_placing() {
    let stories = [
        story("a workload is placed, recorded and acknowledged")
            .submit("submit 1", submission(1))
            .says(1, 1, ReportKind::Running)
            .says(1, 1, ReportKind::Ended)
            .says(1, 1, ReportKind::Ended)
            .stored(1)
            .says(1, 1, ReportKind::Ended),
        story("a held workload is placed when its record is durable")
            .submit(
                "submit 1 held",
                Submission {
                    is_held: true,
                    ..submission(1)
                },
            )
            .event("1 durable", Event::Released(id(1))),
        story("a held workload whose record could not be stored is forgotten")
            .submit(
                "submit 1 held",
                Submission {
                    is_held: true,
                    ..submission(1)
                },
            )
            .event("1 not stored", Event::Withdrawn(id(1)))
            .event("1 durable", Event::Released(id(1))),
        story("a placed workload whose record could not be stored is stopped")
            .submit("submit 1", submission(1))
            .event("1 not stored", Event::Withdrawn(id(1)))
            .says(1, 1, ReportKind::Ended),
        story("a full node is waited for in order; the queue has a length")
            .submit("submit 1", submission(1))
            .submit("submit 2", submission(2))
            .submit("submit 3", submission(3))
            .submit("submit 4", submission(4))
            .submit("submit 5", submission(5))
            .says(2, 1, ReportKind::Ended)
            .says(1, 1, ReportKind::Ended),
        story("a large workload is not overtaken by smaller ones")
            .submit("submit 1", submission(1))
            .submit(
                "submit 2 of 200 MiB",
                Submission {
                    mem_mb: 200,
                    ..submission(2)
                },
            )
            .submit("submit 3", submission(3))
            .says(1, 1, ReportKind::Ended),
    ];
    let text: Vec<String> = stories.into_iter().map(|story| story.text).collect();
    insta::assert_snapshot!(text.join(""), @r"
        a workload is placed, recorded and acknowledged
          submit 1 → assign 1/1 to newt
          node: 1/1 Running → -
          node: 1/1 Ended → record end of 1
          node: 1/1 Ended → -
          end of 1 stored → acknowledge 1/1
          node: 1/1 Ended → acknowledge 1/1
        a held workload is placed when its record is durable
          submit 1 held → -
          1 durable → assign 1/1 to newt
        a held workload whose record could not be stored is forgotten
          submit 1 held → -
          1 not stored → -
          1 durable → -
        a placed workload whose record could not be stored is stopped
          submit 1 → assign 1/1 to newt
          1 not stored → stop 1 (Killed)
          node: 1/1 Ended → acknowledge 1/1
        a full node is waited for in order; the queue has a length
          submit 1 → assign 1/1 to newt
          submit 2 → assign 2/1 to newt
          submit 3 → -
          submit 4 → -
          submit 5 → refused: QueueFull { waiting: 2 }
          node: 2/1 Ended → record end of 2, assign 3/1 to newt
          node: 1/1 Ended → record end of 1, assign 4/1 to newt
        a large workload is not overtaken by smaller ones
          submit 1 → assign 1/1 to newt
          submit 2 of 200 MiB → -
          submit 3 → -
          node: 1/1 Ended → record end of 1, assign 2/1 to newt
        ");
}

#[test]
fn the_rules_of_waiting() {
    let stories = [
        story("what no node offers keeps nobody else waiting")
            .submit(
                "submit 1 go",
                Submission {
                    need: GO,
                    ..submission(1)
                },
            )
            .submit("submit 2", submission(2)),
        story("what no node could ever hold is refused").submit(
            "submit 1 of 251 MiB",
            Submission {
                mem_mb: 251,
                ..submission(1)
            },
        ),
        story("a rejected workload is placed again, a little later or when there is room")
            .submit("submit 1", submission(1))
            .submit("submit 2", submission(2))
            .says(2, 1, ReportKind::Rejected)
            .after(Duration::from_millis(50))
            .says(1, 1, ReportKind::Ended)
            .says(2, 2, ReportKind::Rejected)
            .after(Duration::from_millis(100)),
        story("a workload does not wait for ever")
            .submit(
                "submit 1 go",
                Submission {
                    need: GO,
                    ..submission(1)
                },
            )
            .after(QUEUE_WAIT_MAX),
    ];
    let text: Vec<String> = stories.into_iter().map(|story| story.text).collect();
    insta::assert_snapshot!(text.join(""), @r"
        what no node offers keeps nobody else waiting
          submit 1 go → -
          submit 2 → assign 2/1 to newt
        what no node could ever hold is refused
          submit 1 of 251 MiB → refused: TooLarge { mem_mb_max: 250 }
        a rejected workload is placed again, a little later or when there is room
          submit 1 → assign 1/1 to newt
          submit 2 → assign 2/1 to newt
          node: 2/1 Rejected → put back 2
          tick after 50ms → -
          node: 1/1 Ended → record end of 1, assign 2/2 to newt
          node: 2/2 Rejected → put back 2
          tick after 100ms → assign 2/3 to newt
        a workload does not wait for ever
          submit 1 go → -
          tick after 600s → record 1 as WaitedTooLong
        ");
}

#[test]
fn the_rules_of_stopping() {
    let stories = [
        story("a queued workload ends at once")
            .submit(
                "submit 1 go",
                Submission {
                    need: GO,
                    ..submission(1)
                },
            )
            .stop(1)
            .stored(1),
        story("a placed one ends when its node says so; the node is told again")
            .submit("submit 1", submission(1))
            .stop(1)
            .after(Duration::from_secs(5))
            .says(1, 1, ReportKind::Ended)
            .stored(1),
        story("one that was rejected while it was being stopped is not placed again")
            .submit("submit 1", submission(1))
            .stop(1)
            .says(1, 1, ReportKind::Rejected),
        story("a held one ends once it is durable")
            .submit(
                "submit 1 held",
                Submission {
                    is_held: true,
                    ..submission(1)
                },
            )
            .stop(1)
            .event("1 durable", Event::Released(id(1))),
        story("an ended or unknown one stays as it is")
            .submit("submit 1", submission(1))
            .says(1, 1, ReportKind::Ended)
            .stop(1)
            .stored(1)
            .stop(1),
    ];
    let text: Vec<String> = stories.into_iter().map(|story| story.text).collect();
    insta::assert_snapshot!(text.join(""), @r"
        a queued workload ends at once
          submit 1 go → -
          kill 1 → record 1 as StoppedBeforeStart(Killed)
          end of 1 stored → -
        a placed one ends when its node says so; the node is told again
          submit 1 → assign 1/1 to newt
          kill 1 → stop 1 (Killed)
          tick after 5s → stop 1 (Killed)
          node: 1/1 Ended → record end of 1
          end of 1 stored → acknowledge 1/1
        one that was rejected while it was being stopped is not placed again
          submit 1 → assign 1/1 to newt
          kill 1 → stop 1 (Killed)
          node: 1/1 Rejected → record 1 as StoppedBeforeStart(Killed)
        a held one ends once it is durable
          submit 1 held → -
          kill 1 → -
          1 durable → record 1 as StoppedBeforeStart(Killed)
        an ended or unknown one stays as it is
          submit 1 → assign 1/1 to newt
          node: 1/1 Ended → record end of 1
          kill 1 → -
          end of 1 stored → acknowledge 1/1
          kill 1 → -
        ");
}

#[test]
fn the_rules_of_losing() {
    let again = |number| Submission {
        may_run_again: true,
        ..submission(number)
    };
    let stories = [
        story("what a node does not list is lost, a while after it was placed")
            .submit("submit 1", submission(1))
            .submit("submit 2 again", again(2))
            .status(&[])
            .after(LOST_AFTER)
            .status(&[])
            .says(2, 1, ReportKind::Ended),
        story("what it lists is not")
            .submit("submit 1", submission(1))
            .after(LOST_AFTER)
            .status(&[(1, 1)]),
        story("what it lists and nobody knows is stopped, and its end acknowledged")
            .status(&[(7, 3)])
            .says(7, 3, ReportKind::Ended),
        story("a node that says it lost a workload gets it again where that is allowed")
            .submit("submit 1 again", again(1))
            .says(1, 1, ReportKind::Lost)
            .says(1, 1, ReportKind::Lost),
        story("an old generation counts for nothing")
            .submit("submit 1 again", again(1))
            .says(1, 1, ReportKind::Rejected)
            .after(Duration::from_millis(100))
            .says(1, 1, ReportKind::Ended)
            .says(1, 2, ReportKind::Ended),
        story("a silent node takes nothing, and what it had is lost in the end")
            .submit("submit 1", submission(1))
            .after(NODE_SILENT_AFTER)
            .submit("submit 2", submission(2))
            .after(NODE_LOST_AFTER - NODE_SILENT_AFTER)
            .stored(1)
            .status(&[]),
    ];
    let text: Vec<String> = stories.into_iter().map(|story| story.text).collect();
    insta::assert_snapshot!(text.join(""), @r"
        what a node does not list is lost, a while after it was placed
          submit 1 → assign 1/1 to newt
          submit 2 again → assign 2/1 to newt
          node lists [] → -
          tick after 5s → -
          node lists [] → record 1 as Lost, put back 2, assign 2/2 to newt
          node: 2/1 Ended → acknowledge 2/1
        what it lists is not
          submit 1 → assign 1/1 to newt
          tick after 5s → -
          node lists [(1, 1)] → -
        what it lists and nobody knows is stopped, and its end acknowledged
          node lists [(7, 3)] → stop 7 (Killed)
          node: 7/3 Ended → acknowledge 7/3
        a node that says it lost a workload gets it again where that is allowed
          submit 1 again → assign 1/1 to newt
          node: 1/1 Lost → acknowledge 1/1, put back 1, assign 1/2 to newt
          node: 1/1 Lost → acknowledge 1/1
        an old generation counts for nothing
          submit 1 again → assign 1/1 to newt
          node: 1/1 Rejected → put back 1
          tick after 100ms → assign 1/2 to newt
          node: 1/1 Ended → acknowledge 1/1
          node: 1/2 Ended → record end of 1
        a silent node takes nothing, and what it had is lost in the end
          submit 1 → assign 1/1 to newt
          tick after 15s → -
          submit 2 → -
          tick after 285s → record 1 as Lost
          end of 1 stored → -
          node lists [] → assign 2/1 to newt
        ");
}

#[test]
fn the_rules_of_a_restart() {
    let stories = [
        story("what no node had is placed").restore(1, false, Former::Queued, 0),
        story("what a node may have waits for its word: listed")
            .restore(1, false, Former::Placed, 1)
            .status(&[(1, 1)])
            .says(1, 1, ReportKind::Ended),
        story("not listed")
            .restore(1, false, Former::Placed, 1)
            .status(&[]),
        story("not listed, and it may run again")
            .restore(1, true, Former::Placed, 1)
            .status(&[]),
        story("listed with a placement that is not on record")
            .restore(1, false, Former::Placed, 0)
            .status(&[(1, 3)])
            .says(1, 3, ReportKind::Ended),
        story("the end arrives before the list")
            .restore(1, false, Former::Placed, 0)
            .says(1, 2, ReportKind::Ended)
            .status(&[(1, 2)]),
        story("no node speaks")
            .restore(1, false, Former::Placed, 1)
            .after(Duration::from_secs(30)),
        story("killed before the node spoke, and it has it not")
            .restore(1, true, Former::Placed, 1)
            .stop(1)
            .status(&[]),
    ];
    let text: Vec<String> = stories.into_iter().map(|story| story.text).collect();
    insta::assert_snapshot!(text.join(""), @r"
        what no node had is placed
          restore 1 Queued/0 again=false → assign 1/1 to newt
        what a node may have waits for its word: listed
          restore 1 Placed/1 again=false → -
          node lists [(1, 1)] → -
          node: 1/1 Ended → record end of 1
        not listed
          restore 1 Placed/1 again=false → -
          node lists [] → record 1 as Lost
        not listed, and it may run again
          restore 1 Placed/1 again=true → -
          node lists [] → put back 1, assign 1/2 to newt
        listed with a placement that is not on record
          restore 1 Placed/0 again=false → -
          node lists [(1, 3)] → -
          node: 1/3 Ended → record end of 1
        the end arrives before the list
          restore 1 Placed/0 again=false → -
          node: 1/2 Ended → record end of 1
          node lists [(1, 2)] → -
        no node speaks
          restore 1 Placed/1 again=false → -
          tick after 30s → record 1 as Lost
        killed before the node spoke, and it has it not
          restore 1 Placed/1 again=true → -
          kill 1 → stop 1 (Killed)
          node lists [] → record 1 as StoppedBeforeStart(Killed)
        ");
}
