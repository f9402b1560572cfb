//! The messages.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use vulcan_api::{
    BackendInfo, BareCommand, Footprint, Image, ImageArchive, ImageBuild, ImageEvent, ImageList, ImageName,
    ImagePull, ImagesRemoved, IsolationClass, LogLine, Network, NodeInfo, Problem, Program, Resources, Reuse,
    StartKind, Status, Timestamp, Usage, WorkloadError, WorkloadId,
};

/// What the control plane tells a node.
#[derive(Debug)]
pub enum Command {
    /// Run this. The node reports until the end is acknowledged.
    Assign(Box<Assignment>),
    /// End this workload, if it is here and not over.
    Stop {
        /// Which one.
        workload: WorkloadId,
        /// Why.
        reason: StopReason,
    },
    /// The end of this workload is on record; the node need not report it again.
    Acknowledge {
        /// Which one.
        workload: WorkloadId,
        /// Which assignment of it.
        generation: u32,
    },
    /// Send the lines of a workload's log.
    ReadLog(LogRequest),
    /// Delete the logs of these workloads; their records are gone.
    Forget {
        /// Which ones.
        workloads: Vec<WorkloadId>,
    },
    /// Measure something that only a node can see.
    Measure(Measure),
    /// Something about images.
    Image(ImageCommand),
}

/// Something that only a node can see. A reply that is dropped says that the node is gone; one whose receiver is dropped is
/// not missed.
#[derive(Debug)]
pub enum Measure {
    /// The machine, and the versions of what takes part.
    Machine {
        /// Where the answer goes.
        reply: oneshot::Sender<MachineFacts>,
    },
    /// One run of a bare command.
    Bare {
        /// Which one.
        command: BareCommand,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<BareRun, MeasureFailure>>,
    },
    /// Whether everything is there that a class keeps blank; the answer waits a while until it is.
    Filled {
        /// The class.
        isolation: IsolationClass,
        /// Where the answer goes.
        reply: oneshot::Sender<bool>,
    },
    /// The memory of the instance that runs a workload now.
    Footprint {
        /// Whose.
        workload: WorkloadId,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Footprint, MeasureFailure>>,
    },
}

/// What came of something about an image: the refusal is for whoever asked, and names the image and the cause.
pub type ImageResult<T> = Result<T, Box<Problem>>;

/// Something about images. A reply that is dropped says that the node is gone.
#[derive(Debug)]
pub enum ImageCommand {
    /// What the node has.
    List {
        /// Where the answer goes.
        reply: oneshot::Sender<ImageResult<ImageList>>,
    },
    /// One image, by name or by `sha256:` digest, which may be cut down to 12 digits.
    Inspect {
        /// Which one.
        image: String,
        /// Where the answer goes.
        reply: oneshot::Sender<ImageResult<Image>>,
    },
    /// Takes a name away, and the image with its last one; by digest, all its names.
    Remove {
        /// Which one.
        image: String,
        /// Where the answer goes.
        reply: oneshot::Sender<ImageResult<ImagesRemoved>>,
    },
    /// Removes what nothing refers to: blobs and layers without an image, results of build steps, images without a name; with
    /// `all` every image that no instance uses and no default names.
    Prune {
        /// Whether images with names go as well.
        all: bool,
        /// Where the answer goes.
        reply: oneshot::Sender<ImageResult<ImagesRemoved>>,
    },
    /// Makes an image.
    Make {
        /// How.
        how: ImageMaking,
        /// What is told of it, the end included. When the receiver is dropped, the making ends, and leaves nothing but what a
        /// repetition may use.
        events: mpsc::Sender<ImageEvent>,
    },
    /// Sends an image as a tar archive.
    Export {
        /// Which one.
        image: String,
        /// In which shape.
        archive: ImageArchive,
        /// Where its bytes go; closed after the last piece or the refusal.
        bytes: mpsc::Sender<ImageResult<Bytes>>,
    },
}

/// How an image is made.
#[derive(Debug)]
pub enum ImageMaking {
    /// Out of a registry.
    Pull(ImagePull),
    /// From a recipe or a Dockerfile.
    Build {
        /// How.
        build: ImageBuild,
        /// The context, a tar archive with gzip or without.
        context: mpsc::Receiver<UploadPiece>,
    },
    /// Out of an archive of either shape, found out by looking.
    Import {
        /// What it is to be called; its own names where it is left out.
        name: Option<ImageName>,
        /// The archive, with gzip or without.
        archive: mpsc::Receiver<UploadPiece>,
    },
    /// The platform's own images, from Debian's packages.
    Bootstrap {
        /// Which ones, as `vulcan/python`; all where it is empty.
        names: Vec<ImageName>,
    },
}

/// A piece of something long. A sender that is dropped before the end says that it was broken off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadPiece {
    /// Its next bytes.
    Bytes(Bytes),
    /// There are no more.
    End,
}

/// What a machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineFacts {
    /// The processor's model.
    pub cpu: String,
    /// The memory in MiB.
    pub memory_mb: u64,
    /// The versions of the programs that bare commands use, by name; what is missing is left out.
    pub versions: BTreeMap<String, String>,
}

/// One run of a bare command.
#[derive(Debug, Clone, PartialEq)]
pub struct BareRun {
    /// The command as one would type it.
    pub text: String,
    /// How long it took, in milliseconds.
    pub elapsed_ms: f64,
}

/// Why something was not measured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it was not measured: {reason}")]
pub struct MeasureFailure {
    /// What is missing, and how to get it.
    pub reason: String,
}

/// One workload, placed on a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// Which one.
    pub workload: WorkloadId,
    /// Grows with every placement of the same workload; a node ignores an assignment older than what it knows.
    pub generation: u32,
    /// The class to run it under.
    pub isolation: IsolationClass,
    /// What to run.
    pub program: Program,
    /// The limits.
    pub resources: Resources,
    /// What it may reach.
    pub network: Network,
    /// Whose it is: an instance that ran one owner's code never runs another's.
    pub owner: String,
    /// Which instances may serve it.
    pub reuse: Reuse,
    /// A larger output ends the workload as failed.
    pub output_bytes_max: usize,
    /// What a log may hold; what comes after it is dropped, and the log says so.
    pub log_bytes_max: u64,
}

/// Why a workload is ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Its user asked.
    Killed,
    /// The server aborts: its grace period is over.
    Shutdown,
}

/// What a node tells the control plane.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// The node as a whole: at start, at every change, and every few seconds.
    Status(Box<NodeStatus>),
    /// One workload.
    Workload(Box<WorkloadReport>),
}

/// The node as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeStatus {
    /// Who it is and what it has.
    pub node: NodeInfo,
    /// What it can isolate with.
    pub backends: Vec<BackendInfo>,
    /// Everything assigned to it that is not acknowledged, with generations. What the control plane believes to be here and
    /// is not in this list is lost.
    pub workloads: Vec<(WorkloadId, u32)>,
}

/// One workload as its node sees it: always the full state.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkloadReport {
    /// Which one.
    pub workload: WorkloadId,
    /// Which assignment of it.
    pub generation: u32,
    /// Its state.
    pub state: WorkloadState,
}

/// The state of a workload on its node.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkloadState {
    /// The node has no room for it now: place it again later. Nothing of it was started.
    Rejected {
        /// What there is no room for.
        reason: String,
    },
    /// An instance is being had for it, or runs it.
    Running {
        /// Since when.
        started_at: Timestamp,
    },
    /// It is over.
    Ended(Box<WorkloadEnd>),
}

/// The end of a workload.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkloadEnd {
    /// A final status.
    pub status: Status,
    /// What the code gave back.
    pub output: Option<Value>,
    /// The program's exit code; 128 + n when signal n ended it.
    pub exit_code: Option<i32>,
    /// Why it did not complete.
    pub error: Option<WorkloadError>,
    /// What it used.
    pub usage: Option<Usage>,
    /// Where its instance came from; `None` when it never had one.
    pub start: Option<StartKind>,
    /// When its instance was asked for.
    pub started_at: Timestamp,
    /// Milliseconds until the instance answered.
    pub start_ms: f64,
    /// Milliseconds from handing over the code until its end.
    pub run_ms: f64,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Whether a part of its log was dropped.
    pub logs_truncated: bool,
}

/// The most lines in one [`LogBatch`].
pub const LOG_BATCH_LINES_MAX: usize = 256;

/// Asks a node for a workload's log, from a position on; with `follow` until the workload's end.
#[derive(Debug)]
pub struct LogRequest {
    /// Whose.
    pub workload: WorkloadId,
    /// Only lines with a greater [`LogLine::id`]; 0 is the start.
    pub after: u64,
    /// Whether to wait for more lines until the workload is over.
    pub follow: bool,
    /// Where to send them. The node stops reading when this is closed; its buffer is the back-pressure.
    pub reply: mpsc::Sender<Result<LogBatch, LogFailure>>,
}

/// Some lines of a log, in order. At most [`LOG_BATCH_LINES_MAX`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogBatch {
    /// The lines.
    pub lines: Vec<LogLine>,
}

/// Why a node could not send a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the log could not be read: {reason}")]
pub struct LogFailure {
    /// What the node's disk said.
    pub reason: String,
}
