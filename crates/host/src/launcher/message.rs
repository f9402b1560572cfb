//! What server and launcher say to each other: one JSON text per packet.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::restrict::ProcessLimits;

/// The longest packet, in bytes.
pub(super) const PACKET_BYTES_MAX: usize = 64 * 1024;

/// What a launcher needs to know once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// Folders and files of the host that instances may read and execute, beside `/usr` and what belongs to it.
    pub readable: Vec<PathBuf>,
    /// More of the host, under names that say nothing of it.
    pub placed: Vec<Placed>,
    /// Files that are nowhere on the host.
    pub files: Vec<ViewFile>,
    /// The user and group id of the host that instances run under; `None` for that of the server, which is then no root.
    pub outer_id: Option<u32>,
    /// What the first launch most likely is, so that it can be prepared.
    pub first: Option<Launch>,
    /// For launchers of bundles, which need root: how many user and group ids, from `outer_id` on, an instance has.
    pub id_count: Option<u32>,
}

/// A folder or file of the host that instances may read and execute under another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placed {
    /// Where it is on the host: no link.
    pub from: PathBuf,
    /// Where instances find it.
    pub at: PathBuf,
}

/// A file that instances may read, and that exists in their view only. All files together must fit one packet, of 64 KiB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewFile {
    /// Where instances find it.
    pub at: PathBuf,
    /// What is in it.
    pub text: String,
}

/// An executable of the view, and what it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Where it is in the view.
    pub path: String,
    /// Its arguments, its own name first.
    pub argv: Vec<String>,
    /// Its whole environment, as `NAME=value`.
    pub env: Vec<String>,
}

/// What is wanted of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Launch {
    /// The instance's host name.
    pub hostname: String,
    /// Writable space for `/work`, `/tmp` and `/dev/shm` together, in bytes.
    pub scratch_bytes: u64,
    /// Files and folders in that space.
    pub scratch_inodes: u64,
    /// Limits of every process.
    pub limits: ProcessLimits,
}

/// What is wanted of one instance that a container runtime starts; see the module `bundle`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// The instance's host name.
    pub hostname: String,
    /// The runtime in the view, and what it is told.
    pub runtime: Command,
    /// The text of the bundle's `config.json`; with everything else it must fit one packet, of 64 KiB.
    pub config: String,
    /// Where changes of the root go.
    pub upper: BundleUpper,
    /// Folders that an empty filesystem hides from the runtime.
    pub hidden: Vec<String>,
}

/// Where changes of a bundle's root go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum BundleUpper {
    /// Into memory, together with `/dev/shm`.
    Memory {
        /// Space in bytes.
        bytes: u64,
        /// Files and folders.
        inodes: u64,
    },
    /// Into a folder of the mount that comes with the request.
    Folder {
        /// Its name in the mount.
        name: String,
        /// The name of an empty folder beside it, which overlayfs works in.
        work: String,
    },
}

/// What a launcher found when it was ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// The version of the kernel's Landlock interface; 0 where there is none.
    pub landlock_abi: i32,
}

/// A step that the operating system refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Failure {
    /// What was being done.
    pub(super) step: String,
    /// The error number; 0 where there was none.
    pub(super) errno: i32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    Setup(Setup),
    /// With the channel; without a command it is preceded by the executable, with one it is followed by standard error.
    Launch(Launch, Option<Command>),
    /// With the channel, standard error, the layers from the top down, and the mount of the upper folder if there is one.
    Bundle(Bundle),
}

/// What a launcher tells the child that waits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Order {
    /// The ids are mapped: take them, and give up everything that foreign code must not have.
    Prepare,
    /// Become this command, or else the executable that comes with this.
    Execute(Option<Command>),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Ready(Ready),
    Launched { pid: i32 },
    Failed(Failure),
}

/// Names the step of an error.
pub(super) trait Step<T> {
    fn step(self, step: &str) -> Result<T, Failure>;
}

impl<T, E: Into<std::io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: &str) -> Result<T, Failure> {
        self.map_err(|error| {
            let error: std::io::Error = error.into();
            let step = match error.raw_os_error() {
                Some(_) => step.to_owned(),
                None => format!("{step}: {error}"),
            };
            Failure {
                step,
                errno: error.raw_os_error().unwrap_or(0),
            }
        })
    }
}
