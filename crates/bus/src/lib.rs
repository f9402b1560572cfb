//! Typed messages between control plane and nodes, and the way they travel inside one process.
//!
//! Nothing relies on a message arriving: an assignment carries a generation, a report carries the full state, and control
//! plane and node compare notes with every [`NodeStatus`]. Refuses to know who sends and who receives.
//!
//! ```text
//! control ── Command: Assign, Stop, Acknowledge, ReadLog, Forget, Measure, Image ──▶ node
//! control ◀── Report: Status, Workload ────────────────────────────────────── node
//! ```

mod local;
mod messages;

pub use local::{CAPACITY, ControlEnd, NodeEnd, local};

pub use messages::{
    Assignment, BareRun, Command, ImageCommand, ImageMaking, ImageResult, LOG_BATCH_LINES_MAX, LogBatch,
    LogFailure, LogRequest, MachineFacts, Measure, MeasureFailure, NodeStatus, Report, StopReason,
    UploadPiece, WorkloadEnd, WorkloadReport, WorkloadState,
};
