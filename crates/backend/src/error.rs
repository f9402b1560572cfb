//! Why a backend could not do what it was asked.

use std::{io, time::Duration};

use vulcan_api::{IsolationClass, Runtime};

/// What the caller of a failed operation does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// The same request fails everywhere.
    GiveUp,
    /// This host cannot; another may.
    TryAnotherNode,
    /// It may pass in a moment.
    RetryHere,
}

/// Why a backend could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The host lacks what the backend needs.
    #[error("this host cannot provide {isolation}: {reason}")]
    Unfit {
        /// The class that was asked for.
        isolation: IsolationClass,
        /// What is missing, and how to get it.
        reason: String,
    },
    /// The runtime is unknown to the backend or not installed on the host.
    #[error("runtime {runtime} is not available here: {reason}")]
    RuntimeUnavailable {
        /// The runtime that was asked for.
        runtime: Runtime,
        /// What is missing, and how to get it.
        reason: String,
    },
    /// The host has no more of something for now.
    #[error("the host has no more {what}")]
    Exhausted {
        /// What ran out: "cgroup slots", "processes", "disk space".
        what: &'static str,
        /// The operating system's word.
        #[source]
        source: Option<io::Error>,
    },
    /// The environment could not be started; nothing of it is left.
    #[error("the instance could not be started: {step}")]
    StartFailed {
        /// What was being done.
        step: String,
        /// The operating system's word, where it had one.
        #[source]
        source: Option<io::Error>,
    },
    /// A step took longer than its deadline; nothing of it is left.
    #[error("{step} took longer than {limit:?}")]
    Deadline {
        /// What was being done.
        step: &'static str,
        /// How long it was given.
        limit: Duration,
    },
    /// The guest died or went silent in the middle.
    #[error("the instance was lost: {reason}")]
    Lost {
        /// What was seen.
        reason: String,
    },
    /// The guest broke the protocol; the instance was killed.
    #[error("the guest broke the protocol: {reason}")]
    Protocol {
        /// What it sent.
        reason: String,
    },
    /// The guest refused a request on a file or a command.
    #[error("the guest refused: {message}")]
    Refused {
        /// The guest's case.
        code: vulcan_guest_protocol::RefusalCode,
        /// The guest's words.
        message: String,
    },
    /// The instance is stopped or about to be.
    #[error("the instance is stopped")]
    Stopped,
    /// Something that a former run left behind could not be removed.
    #[error("could not remove what a former run left behind: {what}")]
    SweepFailed {
        /// What is left.
        what: String,
        /// The operating system's word.
        #[source]
        source: io::Error,
    },
}

impl BackendError {
    /// Returns what the caller does next.
    #[must_use]
    pub const fn disposition(&self) -> Disposition {
        match self {
            Self::Unfit { .. } | Self::RuntimeUnavailable { .. } => Disposition::TryAnotherNode,
            Self::Exhausted { .. } | Self::StartFailed { .. } | Self::Deadline { .. } => {
                Disposition::RetryHere
            }
            Self::Lost { .. }
            | Self::Protocol { .. }
            | Self::Refused { .. }
            | Self::Stopped
            | Self::SweepFailed { .. } => Disposition::GiveUp,
        }
    }
}
