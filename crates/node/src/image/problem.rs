//! What people are told when something about an image goes wrong: the image, the cause, and what to do.

use std::{fmt, io, path::Path};

use rustix::io::Errno;
use vulcan_api::{Problem, ProblemKind};
use vulcan_bus::ImageResult;

use super::unpack::UnpackError;

/// Makes a refusal.
pub(super) fn refuse<T>(kind: ProblemKind, detail: impl Into<String>) -> ImageResult<T> {
    Err(problem(kind, detail))
}

pub(super) fn problem(kind: ProblemKind, detail: impl Into<String>) -> Box<Problem> {
    Box::new(Problem::new(kind, detail))
}

pub(super) fn invalid(what: impl fmt::Display, why: impl fmt::Display) -> Box<Problem> {
    problem(ProblemKind::ImageInvalid, format!("{what} cannot be used: {why}"))
}

/// Says that the disk did not do what was asked.
pub(super) fn disk(action: &str, path: &Path, error: &io::Error) -> Box<Problem> {
    if is_full(error) {
        return problem(
            ProblemKind::ImageStorageFull,
            format!(
                "could not {action} {}: {error}; free some space, or remove images with 'vulcan image prune', and repeat",
                path.display()
            ),
        );
    }
    problem(
        ProblemKind::StorageUnavailable,
        format!("could not {action} {}: {error}", path.display()),
    )
}

/// Whether there is no room: no blocks, no inodes, or a quota.
pub(super) fn is_full(error: &io::Error) -> bool {
    [Errno::NOSPC, Errno::DQUOT]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Says what came of unpacking, in terms of the layer `what`.
pub(super) fn unpacking(what: impl fmt::Display, error: &UnpackError) -> Box<Problem> {
    match error {
        UnpackError::Full { .. } => problem(
            ProblemKind::ImageStorageFull,
            format!(
                "{what} could not be unpacked: {error}; free some space, or remove images with 'vulcan image prune', and repeat"
            ),
        ),
        UnpackError::Disk { .. } => problem(
            ProblemKind::StorageUnavailable,
            format!("{what} could not be unpacked: {error}"),
        ),
        UnpackError::Entry { .. }
        | UnpackError::Limit { .. }
        | UnpackError::Broken { .. }
        | UnpackError::Stopped => invalid(what, error),
    }
}

/// Runs what blocks on a thread for it.
///
/// # Errors
///
/// What it says; a defect of ours where it panics.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> ImageResult<T> + Send + 'static,
) -> ImageResult<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => refuse(
            ProblemKind::Internal,
            format!("the image store failed at its work: {error}"),
        ),
    }
}
