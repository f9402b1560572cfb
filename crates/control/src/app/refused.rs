//! A refusal on its way to the caller.

use vulcan_api::{Problem, ProblemKind};

use crate::{causes::chain, store};

/// A refusal on its way to the caller. Boxed, because results carry it through the hot path.
#[derive(Debug)]
pub(crate) struct Refused(Box<Problem>);

/// How long a caller may wait before it asks a busy server again, in seconds.
const RETRY_AFTER_S: u64 = 1;
/// The same for a server that cannot store anything.
const RETRY_STORAGE_AFTER_S: u64 = 5;
/// The same for a server that shuts down: another one has to come up.
const RETRY_SHUTDOWN_AFTER_S: u64 = 10;

impl Refused {
    /// Refuses with a problem of this kind.
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Problem::new(kind, detail).into()
    }

    /// Says that the server is full for now.
    pub(crate) fn overloaded(detail: impl Into<String>) -> Self {
        Problem::new(ProblemKind::Overloaded, detail)
            .with_retry_after_s(RETRY_AFTER_S)
            .into()
    }

    /// Says that the server does not take workloads (any more, or yet).
    pub(crate) fn shutting_down(detail: impl Into<String>) -> Self {
        Problem::new(ProblemKind::ShuttingDown, detail)
            .with_retry_after_s(RETRY_SHUTDOWN_AFTER_S)
            .into()
    }

    /// Says that the records cannot be used; the causes go to the operator's log.
    pub(crate) fn storage(what: &str, error: &store::Error) -> Self {
        tracing::error!(error = %chain(error), "records could not be used");
        Self::unstored(what, error)
    }

    /// The same for a cause that is in the operator's log already.
    pub(crate) fn unstored(what: &str, error: &store::Error) -> Self {
        let detail = format!(
            "{what}: {error}. The operator's log has the cause; free disk space is the first thing to look at"
        );
        Problem::new(ProblemKind::StorageUnavailable, detail)
            .with_retry_after_s(RETRY_STORAGE_AFTER_S)
            .into()
    }

    /// Returns the document.
    pub(crate) fn into_problem(self) -> Problem {
        *self.0
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}
