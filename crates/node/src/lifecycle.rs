//! The life of a workload on a node: one pure function, and nothing else decides.
//!
//! ```text
//! Admitted ──▶ Starting ──▶ Running ──▶ Stopping ──▶ Ended
//!     │            │                                   ▲
//!     └────────────┴── stop, or no start ──────────────┘
//! ```

use vulcan_bus::StopReason;

/// Where a workload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It has its share of the node, and nothing else yet.
    Admitted,
    /// Its program is compiled or its instance is started.
    Starting,
    /// Its program runs.
    Running,
    /// Its program is over or is being ended; its instance is still there.
    Stopping(Verdict),
    /// Nothing of it is left.
    Ended(Verdict),
}

/// Why a workload ended; the first reason counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its program was over by itself, well or not.
    Finished,
    /// It had no instance.
    NotStarted,
    /// Its instance was lost.
    Lost,
    /// Its wall-clock limit was reached.
    TimedOut,
    /// It was stopped from outside.
    Stopped(StopReason),
}

/// What happens to a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// Its supervisor runs.
    Began,
    /// Its instance is there.
    Started,
    /// There will be no instance.
    StartFailed,
    /// Its program is over.
    Finished,
    /// Its instance is lost.
    Lost,
    /// Its wall-clock limit is reached.
    Deadline,
    /// It is to be stopped.
    Stop(StopReason),
    /// Its instance is gone.
    Gone,
}

/// What its supervisor does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Has its program compiled and its instance started.
    Start,
    /// Hands over the code.
    Invoke,
    /// Ends the instance, and then reports.
    StopThenReport,
    /// Reports, and then ends the instance: nobody waits for the cleaning up.
    ReportThenStop,
    /// Reports; there is no instance.
    Report,
    /// Nothing.
    Rest,
}

/// Returns what becomes of a workload when something happens to it.
pub(crate) const fn next(state: State, event: Event) -> (State, Action) {
    match (state, event) {
        (State::Admitted, Event::Began) => (State::Starting, Action::Start),
        (State::Starting, Event::Started) => (State::Running, Action::Invoke),
        (State::Starting, Event::StartFailed) => (State::Ended(Verdict::NotStarted), Action::Report),
        (State::Admitted | State::Starting, Event::Stop(reason)) => {
            (State::Ended(Verdict::Stopped(reason)), Action::Report)
        }
        (State::Running, Event::Finished) => (State::Stopping(Verdict::Finished), Action::ReportThenStop),
        (State::Running, Event::Lost) => (State::Stopping(Verdict::Lost), Action::StopThenReport),
        (State::Running, Event::Deadline) => (State::Stopping(Verdict::TimedOut), Action::StopThenReport),
        (State::Running, Event::Stop(reason)) => {
            (State::Stopping(Verdict::Stopped(reason)), Action::StopThenReport)
        }
        (State::Stopping(verdict), Event::Gone) => (State::Ended(verdict), Action::Rest),
        // Whatever else comes is late or does not belong here; the first reason counts.
        (
            State::Admitted | State::Starting | State::Running | State::Stopping(_) | State::Ended(_),
            Event::Began
            | Event::Started
            | Event::StartFailed
            | Event::Finished
            | Event::Lost
            | Event::Deadline
            | Event::Stop(_)
            | Event::Gone,
        ) => (state, Action::Rest),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    const STATES: [State; 5] = [
        State::Admitted,
        State::Starting,
        State::Running,
        State::Stopping(Verdict::TimedOut),
        State::Ended(Verdict::TimedOut),
    ];
    const EVENTS: [Event; 8] = [
        Event::Began,
        Event::Started,
        Event::StartFailed,
        Event::Finished,
        Event::Lost,
        Event::Deadline,
        Event::Stop(StopReason::Killed),
        Event::Gone,
    ];

    #[test]
    fn the_table_is_what_it_was() {
        let mut table = String::new();
        for state in STATES {
            for event in EVENTS {
                let (after, action) = next(state, event);
                if (after, action) != (state, Action::Rest) {
                    writeln!(table, "{state:?} + {event:?} → {after:?}, {action:?}").unwrap();
                }
            }
        }
        insta::assert_snapshot!(table, @r"
        Admitted + Began → Starting, Start
        Admitted + Stop(Killed) → Ended(Stopped(Killed)), Report
        Starting + Started → Running, Invoke
        Starting + StartFailed → Ended(NotStarted), Report
        Starting + Stop(Killed) → Ended(Stopped(Killed)), Report
        Running + Finished → Stopping(Finished), ReportThenStop
        Running + Lost → Stopping(Lost), StopThenReport
        Running + Deadline → Stopping(TimedOut), StopThenReport
        Running + Stop(Killed) → Stopping(Stopped(Killed)), StopThenReport
        Stopping(TimedOut) + Gone → Ended(TimedOut), Rest
        ");
    }

    #[test]
    fn an_ended_workload_stays_ended() {
        for event in EVENTS {
            let ended = State::Ended(Verdict::Finished);
            assert_eq!(next(ended, event), (ended, Action::Rest));
        }
    }
}
