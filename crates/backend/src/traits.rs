//! The two traits that every isolation class implements, and the abilities that some have.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use vulcan_api::{Footprint, InstanceId, IsolationClass, Readiness, Runtime, RuntimeInfo, Usage};
use vulcan_guest_protocol::ExitStatus;

use crate::{BackendError, Exited, Invocation, LogSink, Outcome, StartRequest, Swept};

/// Something that instances of a class can do beside running code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ability {
    /// Commands beside the program: [`Instance::exec`].
    Exec,
    /// Files in and out: [`Instance::files`].
    Files,
}

impl Ability {
    /// Returns the name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Files => "files",
        }
    }
}

/// What a backend is, whatever the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// The class it provides.
    pub isolation: IsolationClass,
    /// What its instances can do; the accessors of [`Instance`] agree with it.
    pub abilities: Vec<Ability>,
    /// What can be done ahead for which runtime; one that is not named can only be started cold.
    pub readying: Vec<Readying>,
    /// What must be given to a start.
    pub root: RootForm,
    /// Whether instances outlive the process that started them, so that they are noted on disk to be adopted.
    pub outlives_server: bool,
}

impl Capabilities {
    /// Returns what can be done ahead for a runtime.
    #[must_use]
    pub fn readying(&self, runtime: Runtime) -> Option<&Readying> {
        self.readying.iter().find(|readying| readying.runtime == runtime)
    }
}

/// What an instance of a class sees as its filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RootForm {
    /// The backend's own choice: the host's folders, or nothing.
    Own,
    /// An image's layers: [`StartRequest::root`]. What it can run depends on the image, which the node knows:
    /// [`Probe::runtimes`] then says what the agent can run where the interpreter is in the image.
    Layers,
}

/// What can be done ahead of a workload of one runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readying {
    /// Which one.
    pub runtime: Runtime,
    /// The runtime that a blank instance is prepared for, so that it can take this one's code; runtimes that name the same
    /// one share a pool. `None` where nothing is gained by starting ahead.
    pub blank: Option<Runtime>,
    /// Whether a loaded handler can be called again.
    pub warm: bool,
    /// Whether a loaded handler can be called in a fork.
    pub forked: bool,
}

/// What a backend can do on this host, now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Whether it can start anything.
    pub readiness: Readiness,
    /// What it can run.
    pub runtimes: Vec<RuntimeInfo>,
}

/// The mechanism that provides one isolation class on a node.
///
/// ```text
/// start ──▶ instance ──invoke──▶ … ──stop──▶ (nothing left)
///   │
///   └─ fails ──▶ (nothing left)
/// ```
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Returns what the backend is.
    fn capabilities(&self) -> &Capabilities;

    /// Looks at the host. Changes nothing; takes at most a few hundred milliseconds.
    async fn probe(&self) -> Probe;

    /// Starts an instance that is ready for [`Instance::invoke`].
    ///
    /// Has a deadline of its own. After an error, and when the future is dropped, nothing of the instance is left: no
    /// process, mount, cgroup, namespace, device or file.
    ///
    /// # Errors
    ///
    /// [`BackendError::Unfit`], [`BackendError::Exhausted`], [`BackendError::StartFailed`], [`BackendError::Deadline`].
    async fn start(&self, request: StartRequest) -> Result<Arc<dyn Instance>, BackendError>;

    /// Takes over an instance that a former process of this node started; `None` when it does not live.
    ///
    /// # Errors
    ///
    /// [`BackendError::Lost`] when it lives and cannot be reached; sweep it.
    async fn adopt(&self, id: &InstanceId) -> Result<Option<Arc<dyn Instance>>, BackendError>;

    /// Removes everything of this backend on this host that belongs to no instance in `keep`. May be repeated.
    ///
    /// Only called while this process owns the node's data directory, and before the first start.
    ///
    /// # Errors
    ///
    /// [`BackendError::SweepFailed`] with what could not be removed; the rest is removed.
    async fn sweep(&self, keep: &[InstanceId]) -> Result<Swept, BackendError>;

    /// Gives back whatever the backend holds without an instance: pools, helper processes, cgroups. The last call.
    async fn close(&self);
}

/// One live isolated environment. Dropping the last reference stops it.
#[async_trait]
pub trait Instance: Send + Sync + 'static {
    /// Runs one program, and returns when it is over.
    ///
    /// All of the program's output has gone to `logs` by then. Not bounded in time by itself: the caller stops the instance
    /// at the deadline, and the call then returns [`BackendError::Stopped`]. Dropping the future leaves the program running.
    ///
    /// # Errors
    ///
    /// [`BackendError::Lost`] and [`BackendError::Protocol`] when the guest fails, [`BackendError::RuntimeUnavailable`],
    /// [`BackendError::Stopped`]. A program that fails is no error: see [`Outcome::error`].
    async fn invoke(&self, invocation: Invocation, logs: LogSink) -> Result<Outcome, BackendError>;

    /// Waits until the instance is over. Any number of callers; cancel-safe.
    async fn wait(&self) -> Exited;

    /// Ends the instance and removes what belongs to it.
    ///
    /// Processes get `grace` to end after SIGTERM; with zero they are killed at once. A second stop is harmless and waits
    /// for the first. When it returns, nothing of the instance is left.
    ///
    /// # Errors
    ///
    /// [`BackendError::SweepFailed`] when something could not be removed; the backend tries again by itself.
    async fn stop(&self, grace: Duration) -> Result<(), BackendError>;

    /// Returns what the instance used until now; after the end, what it used in all.
    ///
    /// # Errors
    ///
    /// [`BackendError::Lost`] when the host cannot tell.
    async fn usage(&self) -> Result<Usage, BackendError>;

    /// Returns what memory all processes of the instance take now; `None` where the class cannot tell one instance's from
    /// another's. For measurements: it walks the page tables of every process (proc(5), smaps_rollup).
    ///
    /// # Errors
    ///
    /// [`BackendError::Lost`] when the host cannot tell.
    async fn footprint(&self) -> Result<Option<Footprint>, BackendError> {
        Ok(None)
    }

    /// Returns the ability to run commands.
    fn exec(&self) -> Option<&dyn Exec> {
        None
    }

    /// Returns the ability to move files.
    fn files(&self) -> Option<&dyn Files> {
        None
    }
}

/// A command to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecRequest {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Its environment beside `PATH` and `HOME`.
    pub env: BTreeMap<String, String>,
    /// Its working directory, absolute in the guest.
    pub cwd: String,
    /// Its standard input.
    pub stdin: Bytes,
    /// `user`, `uid`, `user:group` or `uid:gid`, looked up in the instance; whom programs run as where it is empty.
    /// Classes without users of their own refuse any other.
    pub user: String,
}

/// Runs commands beside the program.
#[async_trait]
pub trait Exec: Send + Sync {
    /// Runs a command, and returns when it is over; its output goes to `logs`.
    ///
    /// # Errors
    ///
    /// [`BackendError::Refused`] when the command cannot be started, [`BackendError::Lost`], [`BackendError::Stopped`].
    async fn run(&self, request: ExecRequest, logs: LogSink) -> Result<ExitStatus, BackendError>;
}

/// Moves files in and out.
#[async_trait]
pub trait Files: Send + Sync {
    /// Reads a file; one longer than `bytes_max` is an error and not a truncation.
    ///
    /// # Errors
    ///
    /// [`BackendError::Refused`], [`BackendError::Lost`], [`BackendError::Stopped`].
    async fn read(&self, path: &str, bytes_max: usize) -> Result<Bytes, BackendError>;

    /// Writes a file, replacing what was there. A failed write may leave a part of the file.
    ///
    /// # Errors
    ///
    /// [`BackendError::Refused`], [`BackendError::Lost`], [`BackendError::Stopped`].
    async fn write(&self, path: &str, mode: u32, bytes: Bytes) -> Result<(), BackendError>;
}
