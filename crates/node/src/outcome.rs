//! What the user is told of an end: a pure function of why it ended.

use vulcan_api::{ErrorCode, Status, WorkloadError};
use vulcan_backend::{BackendError, Outcome};
use vulcan_bus::StopReason;

use crate::lifecycle::Verdict;

/// A workload's result.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Conclusion {
    pub(crate) status: Status,
    pub(crate) output: Option<serde_json::Value>,
    pub(crate) exit_code: Option<i32>,
    pub(crate) error: Option<WorkloadError>,
}

impl Conclusion {
    const fn without_outcome(status: Status, error: WorkloadError) -> Self {
        Self {
            status,
            output: None,
            exit_code: None,
            error: Some(error),
        }
    }
}

/// Returns the result of a workload.
///
/// `failure` says why there is no outcome, where it is not the verdict's own reason.
pub(crate) fn conclude(
    verdict: Verdict,
    outcome: Option<Outcome>,
    failure: Option<WorkloadError>,
    timeout_s: f64,
) -> Conclusion {
    match (verdict, outcome) {
        (Verdict::Finished, Some(outcome)) => finished(outcome),
        (Verdict::Finished | Verdict::Lost | Verdict::NotStarted, _) => {
            let unknown = || WorkloadError::new(ErrorCode::InstanceLost, "the instance was lost");
            Conclusion::without_outcome(Status::Failed, failure.unwrap_or_else(unknown))
        }
        (Verdict::TimedOut, _) => {
            let message = format!("the wall-clock limit of {timeout_s} s was reached (resources.timeout_s)");
            Conclusion::without_outcome(Status::TimedOut, WorkloadError::new(ErrorCode::Timeout, message))
        }
        (Verdict::Stopped(StopReason::Killed), _) => {
            let error = WorkloadError::new(ErrorCode::Killed, "the workload was killed");
            Conclusion::without_outcome(Status::Killed, error)
        }
        (Verdict::Stopped(StopReason::Shutdown), _) => {
            let message = "the server was shut down before the workload was finished";
            let error = WorkloadError::new(ErrorCode::NodeRestarted, message);
            Conclusion::without_outcome(Status::Failed, error)
        }
    }
}

fn finished(outcome: Outcome) -> Conclusion {
    Conclusion {
        status: if outcome.error.is_none() {
            Status::Completed
        } else {
            Status::Failed
        },
        output: outcome.output,
        exit_code: Some(outcome.status.shell_code()),
        error: outcome.error,
    }
}

/// Returns what the user is told when an instance could not be had.
pub(crate) fn start_failure(error: &BackendError) -> WorkloadError {
    WorkloadError::new(ErrorCode::StartFailed, chain(error))
}

/// Returns what the user is told when an instance gave no outcome.
pub(crate) fn invoke_failure(error: &BackendError) -> WorkloadError {
    let code = match error {
        BackendError::Unfit { .. }
        | BackendError::RuntimeUnavailable { .. }
        | BackendError::Exhausted { .. }
        | BackendError::StartFailed { .. }
        | BackendError::Refused { .. } => ErrorCode::StartFailed,
        BackendError::Deadline { .. }
        | BackendError::Lost { .. }
        | BackendError::Protocol { .. }
        | BackendError::Stopped
        | BackendError::SweepFailed { .. } => ErrorCode::InstanceLost,
    };
    WorkloadError::new(code, chain(error))
}

/// Returns an error with its causes, outermost first.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use vulcan_backend::ExitStatus;

    use super::*;

    #[test]
    fn a_timeout_names_its_limit() {
        let conclusion = conclude(Verdict::TimedOut, None, None, 2.5);
        assert_eq!(conclusion.status, Status::TimedOut);
        assert_eq!(
            conclusion.error.unwrap().message,
            "the wall-clock limit of 2.5 s was reached (resources.timeout_s)"
        );
    }

    #[test]
    fn a_signal_becomes_the_shells_exit_code() {
        let outcome = Outcome {
            status: ExitStatus::Signal(9),
            output: None,
            error: Some(WorkloadError::new(ErrorCode::OutOfMemory, "too much")),
            prepared_in: Duration::ZERO,
            reusable: None,
        };
        let conclusion = conclude(Verdict::Finished, Some(outcome), None, 1.0);
        assert_eq!(
            (conclusion.status, conclusion.exit_code),
            (Status::Failed, Some(137))
        );
    }

    #[test]
    fn a_kill_counts_more_than_an_outcome() {
        let outcome = Outcome {
            status: ExitStatus::Code(0),
            output: None,
            error: None,
            prepared_in: Duration::ZERO,
            reusable: None,
        };
        let conclusion = conclude(Verdict::Stopped(StopReason::Killed), Some(outcome), None, 1.0);
        assert_eq!(conclusion.status, Status::Killed);
    }

    #[test]
    fn causes_follow_their_error() {
        let error = BackendError::Exhausted {
            what: "cgroup slots",
            source: Some(std::io::Error::other("no space left on device")),
        };
        assert_eq!(
            start_failure(&error).message,
            "the host has no more cgroup slots: no space left on device"
        );
    }
}
