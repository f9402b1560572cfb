//! The nouns of the platform as they travel on the wire.
//!
//! Owns the shapes of requests and answers, the ids, the limits a user can name, and the kinds of problem.
//! Refuses to know how any of it is stored, transported or run: no I/O, no async runtime, no HTTP framework.

mod benchmark;
mod ids;
mod image;
mod image_reference;
mod inventory;
mod isolation;
mod log;
mod problem;
mod program;
mod resources;
mod runtime;
mod time;
mod workload;

pub use benchmark::{
    BareCommand, Benchmark, BenchmarkAbsence, BenchmarkEnvironment, BenchmarkFloor, BenchmarkList,
    BenchmarkMemory, BenchmarkProgress, BenchmarkRate, BenchmarkShares, BenchmarkSpec, BenchmarkStart,
    BenchmarkStatus, BenchmarkSummary, BenchmarkWork, Footprint, Spread, reuse_for,
};
pub use ids::{BenchmarkId, IdError, InstanceId, NodeName, WorkloadId};
pub use image::{
    IMAGE_NAME_BYTES_MAX, Image, ImageArchive, ImageBootstrap, ImageBuild, ImageConfig, ImageEvent,
    ImageLayer, ImageList, ImageName, ImageNameError, ImagePrune, ImagePull, ImagesRemoved,
    RegistryCredentials,
};
pub use image_reference::{IMAGE_DIGEST_DIGITS_MIN, ImageReference, ImageReferenceError};
pub use inventory::{
    BackendInfo, BackendList, NodeCapacity, NodeInfo, NodeList, PoolInfo, Readiness, RuntimeInfo, Stats,
    StatusCounts,
};
pub use isolation::{Isolation, IsolationClass};
pub use log::{LogLine, LogStream};
pub use problem::{FieldError, Problem, ProblemKind};
pub use program::{Code, ImageProgram, Program};
pub use resources::{ResourceLimits, Resources, ResourcesRequest};
pub use runtime::Runtime;
pub use time::{Clock, ManualClock, SystemClock, Timestamp};
pub use workload::{
    ErrorCode, Network, Reuse, StartKind, Status, Usage, Workload, WorkloadAccepted, WorkloadError,
    WorkloadList, WorkloadSpec,
};
