//! The plain data that goes into a backend and comes out of it.

use std::{any::Any, fmt, num::NonZeroU16, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::mpsc;
use vulcan_api::{
    InstanceId, IsolationClass, LogStream, Network, Program, Resources, Runtime, WorkloadError, WorkloadId,
};
use vulcan_guest_protocol::{ExitStatus, InvokeMode};

use crate::BackendError;

/// What an instance is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct StartRequest {
    /// Its name; unique on the host for ever.
    pub instance: InstanceId,
    /// Its limits. The wall-clock limit is enforced by whoever calls, with [`crate::Instance::stop`].
    pub resources: Resources,
    /// What it may reach.
    pub network: Network,
    /// The runtime whose interpreter is to run already when the start is over; `None` when the first program starts its own.
    pub prepare: Option<Runtime>,
    /// Its root filesystem; `Some` exactly where [`crate::Capabilities::root`] says that one is needed.
    pub root: Option<Arc<Root>>,
    /// Where what it changes of its root goes; means nothing without one.
    pub upper: Upper,
}

/// Where an instance's changes of its root filesystem go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Upper {
    /// Into memory, up to `resources.disk_mb`, and away with the instance.
    #[default]
    Memory,
    /// Into an existing, empty folder of the host's disk, whose owner has limited its size. After the stop they are there as a
    /// layer: user ids are those of the image, removed files are noted as in [`Root::layers`].
    Folder(PathBuf),
}

/// A root filesystem that instances share and none changes. Whoever runs on it holds a reference until the end.
pub struct Root {
    /// The digest of the image: equal ones have equal content.
    pub digest: String,
    /// Folders with the unpacked layers, the lowest first; at least one. User ids are those of the image. Removed files are
    /// noted as overlayfs does: character device 0:0, extended attribute `trusted.overlay.opaque`.
    pub layers: Vec<PathBuf>,
    /// What is to happen when nobody uses the root any more, as the value's `Drop`.
    pub lease: Box<dyn Any + Send + Sync>,
}

impl PartialEq for Root {
    fn eq(&self, other: &Self) -> bool {
        (&self.digest, &self.layers) == (&other.digest, &other.layers)
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root")
            .field("digest", &self.digest)
            .field("layers", &self.layers)
            .finish_non_exhaustive()
    }
}

impl StartRequest {
    /// Refuses an open network, for backends that have only closed ones: a wish is never weakened in silence.
    ///
    /// # Errors
    ///
    /// [`BackendError::Unfit`] when anything but [`Network::None`] is asked for.
    pub fn refuse_open_network(&self, isolation: IsolationClass) -> Result<(), BackendError> {
        match self.network {
            Network::None => Ok(()),
            Network::Egress => {
                let reason = "its instances have no network to open yet".to_owned();
                Err(BackendError::Unfit { isolation, reason })
            }
        }
    }
}

/// One program to run inside an instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Invocation {
    /// Whose it is; the handler sees it in its context.
    pub workload: WorkloadId,
    /// What to run. Runtime `go` compiles only: the executable is at `/work/out/program` afterwards.
    pub program: Program,
    /// How long the caller will wait; the handler sees it in its context.
    pub timeout: Duration,
    /// A larger output is an error of the workload.
    pub output_bytes_max: usize,
    /// What becomes of the instance and of what is loaded in it. Calls that find something loaded
    /// ([`Outcome::reusable`]) must be of the same program, its input excepted, and of the same mode.
    pub mode: InvokeMode,
}

/// A piece of a program's output as it arrived, cut anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// Where it came from. A guest cannot write to [`LogStream::System`] by itself; its agent can.
    pub stream: LogStream,
    /// The raw bytes.
    pub bytes: Bytes,
}

/// Where a program's output goes while it runs.
///
/// Bounded: a reader that is too slow holds the program up, never the host's memory. A reader that is gone is no error.
pub type LogSink = mpsc::Sender<LogChunk>;

/// How a program ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The process's end.
    pub status: ExitStatus,
    /// The handler's result, or standard output where that is a single JSON value.
    pub output: Option<Value>,
    /// Why the program did not succeed; `None` exactly when it did.
    pub error: Option<WorkloadError>,
    /// How long the runtime took from the invocation until the program ran.
    pub prepared_in: Duration,
    /// How many calls at once the loaded handler takes from now on; `None` when nothing is loaded and the instance cannot
    /// serve a warm or forked call again.
    pub reusable: Option<NonZeroU16>,
}

/// How an instance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exited {
    /// Its first process ended by itself or was lost.
    ByItself,
    /// It was stopped by its owner.
    Stopped,
}

/// What a sweep found and removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Swept {
    /// How many instances of a former run were still there.
    pub instances: u32,
    /// What was removed, in words for the operator: "cgroup vulcan/…/slot-3", "2 processes".
    pub removed: Vec<String>,
}
