//! Workloads: what is asked, and the record of what became of it.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    ImageName, Isolation, IsolationClass, NodeName, Resources, ResourcesRequest, Runtime, Timestamp,
    WorkloadId,
};

/// What an instance may reach over the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Nothing at all, itself excepted.
    #[default]
    None,
    /// The internet. Not available yet; asking for it is a clear refusal.
    Egress,
}

/// Which instances may serve a workload.
///
/// Whatever is chosen, an instance that ran one project's code never runs another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reuse {
    /// A fresh one, started ahead of time where there is one; it is thrown away afterwards.
    #[default]
    None,
    /// A fresh one that is started for this workload, even where one was started ahead.
    Cold,
    /// A copy of a process that has loaded the same code for the same project: nothing of one call is seen by the next,
    /// files excepted. Only for programs with a handler.
    Forked,
    /// One that has loaded the same code for the same project, and is kept afterwards: what the code keeps in memory and in
    /// files is there at the next call. Only for programs with a handler.
    Warm,
}

impl Reuse {
    /// All values.
    pub const ALL: [Self; 4] = [Self::None, Self::Cold, Self::Forked, Self::Warm];

    /// Returns the name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Cold => "cold",
            Self::Forked => "forked",
            Self::Warm => "warm",
        }
    }

    /// Returns whether this is what a request gets that says nothing.
    #[must_use]
    pub const fn is_default(&self) -> bool {
        matches!(self, Self::None)
    }
}

impl fmt::Display for Reuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Reuse {
    type Err = String;

    fn from_str(value: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|reuse| reuse.as_str() == value)
            .ok_or_else(|| {
                let names: Vec<&str> = Self::ALL.into_iter().map(Self::as_str).collect();
                format!("unknown reuse '{value}': use one of {}", names.join(", "))
            })
    }
}

/// A request to run code once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkloadSpec {
    /// What runs the code; may be left out where `image` is given without code.
    #[serde(default = "Runtime::of_image")]
    pub runtime: Runtime,
    /// The root filesystem, and with `runtime` left out the program: an image that the node has, or gets from its registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageName>,
    /// Runs this in `image` in place of its entrypoint and its default arguments; `args` alone replace only the latter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The class of isolation; `auto` when left out.
    #[serde(default)]
    pub isolation: Isolation,
    /// The source text of a single file, or a WebAssembly module as text or in base64; exactly one of `code` and `code_archive`
    /// is needed, but for runtime `image`, which takes neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// A tar.gz archive in base64; needs `entrypoint`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_archive: Option<String>,
    /// The path of the file to run, relative to the archive's root, or the name that `code` gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<String>,
    /// Arguments of the program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Any JSON value: the handler's first argument, or the script's standard input.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub input: Value,
    /// Environment variables of the program.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Limits; whatever is left out takes the default.
    #[serde(default)]
    pub resources: ResourcesRequest,
    /// What the program may reach over the network.
    #[serde(default)]
    pub network: Network,
    /// Which instances may serve it; a fresh one when left out.
    #[serde(default, skip_serializing_if = "Reuse::is_default")]
    pub reuse: Reuse,
    /// The caller's own marks: at most 32, kept with the record.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Whether the workload may run again from the start when its node was restarted in the middle.
    #[serde(default)]
    pub idempotent: bool,
}

/// What became of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Accepted and recorded, not started yet.
    Pending,
    /// An instance is starting or runs the code.
    Running,
    /// The code ended well.
    Completed,
    /// The code, or the platform under it, failed; `error` says how.
    Failed,
    /// Somebody killed it.
    Killed,
    /// It was killed at its wall-clock limit.
    TimedOut,
}

impl Status {
    /// All statuses.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::Killed,
        Self::TimedOut,
    ];

    /// Returns whether nothing will change any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Pending | Self::Running => false,
            Self::Completed | Self::Failed | Self::Killed | Self::TimedOut => true,
        }
    }

    /// Returns the name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Killed => "killed",
            Self::TimedOut => "timed_out",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = String;

    fn from_str(value: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == value)
            .ok_or_else(|| {
                let names: Vec<&str> = Self::ALL.into_iter().map(Self::as_str).collect();
                format!("unknown status '{value}': use one of {}", names.join(", "))
            })
    }
}

/// Where the instance came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StartKind {
    /// It had run the same code before.
    Warm,
    /// It was copied from a process that had loaded the same code.
    Forked,
    /// It was started ahead of time and had never run code.
    Pooled,
    /// It was restored from a snapshot.
    Restored,
    /// It was started for this workload.
    Cold,
}

impl StartKind {
    /// Returns the name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Forked => "forked",
            Self::Pooled => "pooled",
            Self::Restored => "restored",
            Self::Cold => "cold",
        }
    }
}

/// Why a workload did not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The handler threw, or the code could not be loaded.
    Exception,
    /// The program ended with another exit code than 0.
    ExitCode,
    /// The program was ended by a signal that the platform did not send.
    Signal,
    /// The program needed more memory than it was given.
    OutOfMemory,
    /// The wall-clock limit was reached.
    Timeout,
    /// Somebody killed the workload.
    Killed,
    /// The output was larger than the cap.
    OutputTooLarge,
    /// The output was not a JSON value that can be read back.
    OutputInvalid,
    /// The code did not compile.
    CompileFailed,
    /// The environment of the program was lost or broke the guest protocol.
    InstanceLost,
    /// The image is not there and could not be had.
    ImageUnavailable,
    /// The instance could not be started.
    StartFailed,
    /// The server or the node was restarted while the workload was not finished.
    NodeRestarted,
}

/// The error of a workload, for whoever wrote its code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WorkloadError {
    /// What kind of failure it was.
    pub code: ErrorCode,
    /// What happened, in words.
    pub message: String,
    /// The program's own traceback, where it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
}

impl WorkloadError {
    /// Makes an error without a traceback.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            stack: None,
        }
    }
}

/// What a workload used, as the host measured it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Usage {
    /// Processor time in milliseconds, user and system.
    pub cpu_ms: f64,
    /// The most memory that was in use at once, in MiB; `None` where the host cannot measure it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem_peak_mb: Option<f64>,
}

/// The record of a workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Workload {
    /// Its name.
    pub id: WorkloadId,
    /// The project that owns it.
    pub project: String,
    /// What became of it.
    pub status: Status,
    /// What was asked.
    pub isolation: Isolation,
    /// What it got.
    pub isolation_used: Option<IsolationClass>,
    /// Why it got that.
    pub isolation_reason: Option<String>,
    /// What ran the code.
    pub runtime: Runtime,
    /// The image that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageName>,
    /// Where it ran.
    pub node: Option<NodeName>,
    /// SHA-256 of the input's JSON text, in hexadecimal.
    pub input_digest: String,
    /// What the code gave back.
    pub output: Option<Value>,
    /// The program's exit code; 128 + n when signal n ended it.
    pub exit_code: Option<i32>,
    /// Why it did not complete.
    pub error: Option<WorkloadError>,
    /// The limits in force.
    pub resources: Resources,
    /// What it was allowed to reach.
    pub network: Network,
    /// What it used.
    pub usage: Option<Usage>,
    /// Which instances were allowed to serve it.
    #[serde(default, skip_serializing_if = "Reuse::is_default")]
    pub reuse: Reuse,
    /// Where its instance came from.
    pub start: Option<StartKind>,
    /// Milliseconds that it waited: for a node, and on the way there and back.
    pub queued_ms: Option<f64>,
    /// Milliseconds until the instance answered; compiling is part of it.
    pub start_ms: Option<f64>,
    /// Milliseconds from handing over the code until its end.
    pub run_ms: Option<f64>,
    /// Milliseconds from acceptance until the end.
    pub duration_ms: Option<f64>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its instance was asked for.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Whether a part of its log was dropped at the cap.
    #[serde(default)]
    pub logs_truncated: bool,
    /// The caller's own marks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// The answer to an asynchronous request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WorkloadAccepted {
    /// The name to ask with.
    pub id: WorkloadId,
    /// `pending`, or what became of the first workload under the same idempotency key.
    pub status: Status,
}

/// One page of workloads, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WorkloadList {
    /// The records.
    pub workloads: Vec<Workload>,
    /// Pass it as `cursor` to get the next page; `None` on the last one.
    pub next_cursor: Option<String>,
}
