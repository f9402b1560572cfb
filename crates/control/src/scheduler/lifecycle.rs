//! The life of a workload, as one pure function.
//!
//! ```text
//! pending ──started──▶ running ──ended──▶ completed | failed | killed | timed_out
//!    ▲ │                  │
//!    │ └─ended────────────┼─────────────▶ (the same four)
//!    └──────put back──────┘
//! ```

use vulcan_api::Status;

/// What can happen to a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happening {
    /// A node reports that an instance is being had for it.
    Started,
    /// It goes back into the queue: its node had no room, or was lost and the workload may run again.
    PutBack,
    /// It is over, with this status.
    Ended(Status),
}

/// Returns the status that follows, or `None` when the happening changes nothing.
///
/// A final status never changes, and only a final status ends a workload.
#[must_use]
pub(crate) const fn next(status: Status, happening: Happening) -> Option<Status> {
    match (status, happening) {
        (Status::Pending, Happening::Started) => Some(Status::Running),
        (Status::Running, Happening::PutBack) => Some(Status::Pending),
        (Status::Pending | Status::Running, Happening::Ended(end)) if end.is_final() => Some(end),
        (Status::Pending, Happening::PutBack | Happening::Ended(_))
        | (Status::Running, Happening::Started | Happening::Ended(_))
        | (Status::Completed | Status::Failed | Status::Killed | Status::TimedOut, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn the_table_of_the_lifecycle() {
        let happenings = [
            Happening::Started,
            Happening::PutBack,
            Happening::Ended(Status::Pending),
            Happening::Ended(Status::Running),
            Happening::Ended(Status::Completed),
            Happening::Ended(Status::Failed),
            Happening::Ended(Status::Killed),
            Happening::Ended(Status::TimedOut),
        ];
        let mut table = String::new();
        for status in Status::ALL {
            for happening in happenings {
                let to = next(status, happening).map_or("-", Status::as_str);
                writeln!(
                    table,
                    "{:<10} {:<16} {to}",
                    status.as_str(),
                    format!("{happening:?}")
                )
                .unwrap();
            }
        }
        insta::assert_snapshot!(table, @r"
        pending    Started          running
        pending    PutBack          -
        pending    Ended(Pending)   -
        pending    Ended(Running)   -
        pending    Ended(Completed) completed
        pending    Ended(Failed)    failed
        pending    Ended(Killed)    killed
        pending    Ended(TimedOut)  timed_out
        running    Started          -
        running    PutBack          pending
        running    Ended(Pending)   -
        running    Ended(Running)   -
        running    Ended(Completed) completed
        running    Ended(Failed)    failed
        running    Ended(Killed)    killed
        running    Ended(TimedOut)  timed_out
        completed  Started          -
        completed  PutBack          -
        completed  Ended(Pending)   -
        completed  Ended(Running)   -
        completed  Ended(Completed) -
        completed  Ended(Failed)    -
        completed  Ended(Killed)    -
        completed  Ended(TimedOut)  -
        failed     Started          -
        failed     PutBack          -
        failed     Ended(Pending)   -
        failed     Ended(Running)   -
        failed     Ended(Completed) -
        failed     Ended(Failed)    -
        failed     Ended(Killed)    -
        failed     Ended(TimedOut)  -
        killed     Started          -
        killed     PutBack          -
        killed     Ended(Pending)   -
        killed     Ended(Running)   -
        killed     Ended(Completed) -
        killed     Ended(Failed)    -
        killed     Ended(Killed)    -
        killed     Ended(TimedOut)  -
        timed_out  Started          -
        timed_out  PutBack          -
        timed_out  Ended(Pending)   -
        timed_out  Ended(Running)   -
        timed_out  Ended(Completed) -
        timed_out  Ended(Failed)    -
        timed_out  Ended(Killed)    -
        timed_out  Ended(TimedOut)  -
        ");
    }
}
