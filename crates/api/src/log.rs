//! Log lines as readers get them.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// The program's standard output.
    Stdout,
    /// The program's standard error.
    Stderr,
    /// The platform itself; a guest cannot write such a line.
    System,
}

impl LogStream {
    /// Returns the name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::System => "system",
        }
    }
}

/// One line of a workload's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LogLine {
    /// Position in the log, for `Last-Event-ID`; grows from line to line and is opaque otherwise.
    pub id: u64,
    /// When the host received the line.
    pub time: Timestamp,
    /// Where the line came from.
    pub stream: LogStream,
    /// The text without its line end; bytes that are not UTF-8 are replaced by U+FFFD.
    pub text: String,
    /// Whether the line was cut here because it is too long; its rest follows as the next line of the same stream.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}
