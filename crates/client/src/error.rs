//! Why a request did not bring what was asked.

use std::time::Duration;

use vulcan_api::Problem;

use crate::EndpointError;

/// Why a request did not bring what was asked.
///
/// The text reads after "could not …: " and never includes its source; [`ClientError::hint`] says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address names no server.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The server refused, and says why.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// No connection could be made; the server has not seen the request.
    #[error("no server answers at {endpoint}")]
    Unreachable {
        /// Where it was looked for.
        endpoint: String,
        /// What the network said.
        #[source]
        source: reqwest::Error,
    },
    /// The connection broke after it was made; the server may have seen the request.
    #[error("the connection to {endpoint} broke while it was to {what}")]
    Interrupted {
        /// The server.
        endpoint: String,
        /// What was asked of it.
        what: &'static str,
        /// What the network said.
        #[source]
        source: reqwest::Error,
    },
    /// The answer did not come in time; the server may have seen the request.
    #[error("{endpoint} did not {what} within {limit:?}")]
    Timeout {
        /// The server.
        endpoint: String,
        /// What was asked of it.
        what: &'static str,
        /// How long it was given.
        limit: Duration,
    },
    /// The answer is not what a vulcan server sends.
    #[error("{endpoint} answered with something else than a vulcan server does: {reason}")]
    Malformed {
        /// Who answered.
        endpoint: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The answer is larger than the client reads.
    #[error("the answer of {endpoint} is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The server.
        endpoint: String,
        /// The limit.
        limit_bytes: usize,
    },
    /// What came could not be written where it was to go.
    #[error("what the server sent could not be written")]
    Write {
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The request could not be made at all: a defect of the client or of the system below.
    #[error("the HTTP client could not be set up")]
    Setup {
        /// What it said.
        #[source]
        source: reqwest::Error,
    },
}

impl ClientError {
    /// Returns what the user can do next, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Problem(problem) => problem
                .retry_after_s
                .map(|seconds| format!("try again in {seconds} s")),
            Self::Unreachable { .. } => Some(
                "start a server with `vulcan serve`, or name one with --server URL or VULCAN_SERVER"
                    .to_owned(),
            ),
            Self::Interrupted { .. } | Self::Timeout { .. } => {
                Some("the server may have done it all the same: look with `vulcan ls`".to_owned())
            }
            Self::Malformed { .. } => {
                Some("something else may listen there, or a vulcan server of another version".to_owned())
            }
            Self::Endpoint(_) | Self::TooLarge { .. } | Self::Write { .. } | Self::Setup { .. } => None,
        }
    }

    /// Returns the refusal where the server gave one.
    #[must_use]
    pub const fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            Self::Endpoint(_)
            | Self::Unreachable { .. }
            | Self::Interrupted { .. }
            | Self::Timeout { .. }
            | Self::Malformed { .. }
            | Self::TooLarge { .. }
            | Self::Write { .. }
            | Self::Setup { .. } => None,
        }
    }
}
