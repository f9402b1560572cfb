//! What goes wrong with a registry.

use vulcan_api::{ImageName, Problem, ProblemKind};

use crate::image::problem::problem;

/// Why a registry did not give what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(in crate::image) enum Trouble {
    /// There is no such thing, or not for whoever asked.
    #[error("the registry has no {what}")]
    NotFound { what: String },
    #[error("{why}")]
    Unauthorized { why: String },
    /// May be better when it is asked again.
    #[error("{why}")]
    Unreachable { why: String },
    /// What came is not what it should be.
    #[error("{why}")]
    Wrong { why: String },
    /// The disk.
    #[error("{}", .0.detail)]
    Disk(Box<Problem>),
}

impl Trouble {
    pub(in crate::image) fn wrong(why: impl Into<String>) -> Self {
        Self::Wrong { why: why.into() }
    }

    pub(super) fn unreachable(why: impl Into<String>) -> Self {
        Self::Unreachable { why: why.into() }
    }

    /// Says what came of asking for an image, and what to do.
    pub(in crate::image) fn about(self, name: &ImageName) -> Box<Problem> {
        let registry = name.registry().unwrap_or("the registry");
        match self {
            Self::NotFound { what } => problem(
                ProblemKind::ImageNotFound,
                format!("{name} could not be pulled: {registry} has no {what}; check the name and the tag"),
            ),
            Self::Unauthorized { why } => problem(
                ProblemKind::ImageUnauthorized,
                format!(
                    "{name} could not be pulled: {why}; check the name, and give a name and password that may read it, in the request, the configuration, or Docker's configuration file"
                ),
            ),
            Self::Unreachable { why } => problem(
                ProblemKind::ImageUnreachable,
                format!("{name} could not be pulled: {why}; repeat the pull, it goes on where it stopped"),
            ),
            Self::Wrong { why } => problem(
                ProblemKind::ImageInvalid,
                format!("{name} cannot be used: {why}; tell whoever publishes it, or pull another version"),
            ),
            Self::Disk(problem) => problem,
        }
    }
}
