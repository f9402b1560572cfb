//! A platform in the command's own process, for `vulcan run` where there is no server.
//!
//! It listens on a socket in a private temporary folder that holds all its data and is removed at the end. Where a process
//! was killed before its end, the next one finds the folder through a numbered lock in the user's cache, takes over the
//! number, and sweeps what is left of both.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;
use vulcan_api::{IsolationClass, WorkloadSpec};
use vulcan_backend::Backend;
use vulcan_client::Client;

use crate::{
    backends,
    config::{self, stable_hash},
    failure::{Exit, Failure},
    paths,
    platform::{Listen, Platform, PlatformOptions},
};

/// The most embedded platforms of one user at once.
const SLOTS_MAX: u32 = 1_024;
/// The beginning of the temporary folder's name.
const PREFIX: &str = "vulcan-run-";
/// The longest path of a folder in which a socket still fits (unix(7): 108 bytes with the end).
const FOLDER_BYTES_MAX: usize = 90;

type MakeBackends = fn(&config::Config, &str, &Path) -> io::Result<Vec<Arc<dyn Backend>>>;

/// A platform that ends with the command.
pub(crate) struct Embedded {
    platform: Platform,
    folder: TempDir,
    /// Given back after everything else is gone.
    slot: Slot,
}

impl Embedded {
    /// Starts it, with every class.
    ///
    /// # Errors
    ///
    /// A [`Failure`]; nothing is left then.
    pub(crate) async fn start() -> Result<Self, Failure> {
        Self::with(backends::all).await
    }

    /// Starts it for one workload. A class that stands on images is there only where it is named, or an image is: this platform
    /// is empty, and has no default images for `auto` to choose such a class.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub(crate) async fn start_for(spec: &WorkloadSpec) -> Result<Self, Failure> {
        let needs_images = match spec.isolation.class() {
            None => spec.image.is_some(),
            Some(IsolationClass::Isolate | IsolationClass::Wasm | IsolationClass::Sandbox) => false,
            Some(IsolationClass::Container | IsolationClass::Gvisor | IsolationClass::Microvm) => true,
        };
        Self::with(if needs_images {
            backends::all
        } else {
            backends::without_images
        })
        .await
    }

    async fn with(make_backends: MakeBackends) -> Result<Self, Failure> {
        let config = config_of_environment()?;
        let cache_dir = paths::cache_dir_of(&config)?;
        let failed = |error: io::Error| Failure::from_error(Exit::PLATFORM, "make a place to run in", &error);
        let mut slot = Slot::take(&cache_dir).map_err(failed)?;
        let folder = slot.make_folder().map_err(failed)?;
        let backends = make_backends(&config, &slot.owner, &cache_dir)
            .map_err(|error| Failure::from_error(Exit::PLATFORM, "set up the backends", &error))?;
        let options = PlatformOptions {
            owner: Some(slot.owner.clone()),
            backends: Some(backends),
            config,
            ..PlatformOptions::new(
                folder.path().join("data"),
                cache_dir,
                Listen::Unix(folder.path().join("socket")),
            )
        };
        let platform = Platform::start(options).await.map_err(|error| {
            let failure = Failure::from_error(Exit::PLATFORM, "start a platform in this process", &error);
            match error.hint() {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        })?;
        Ok(Self {
            platform,
            folder,
            slot,
        })
    }

    /// Returns a client of it.
    pub(crate) const fn client(&self) -> &Client {
        self.platform.client()
    }

    /// Stops whatever runs, and removes everything.
    pub(crate) async fn end(self) {
        let Self {
            platform,
            folder,
            slot,
        } = self;
        if platform.unfinished() > 0 {
            platform.abort().await;
        }
        platform.join().await;
        // What cannot be removed is found by the next one.
        if folder.close().is_ok() {
            slot.forget();
        }
    }
}

/// Loads the configuration of a command that takes no file and no flags.
///
/// # Errors
///
/// A [`Failure`] that names the variable.
pub(crate) fn config_of_environment() -> Result<config::Config, Failure> {
    config::load(None, std::env::vars_os().filter_map(utf8), []).map_err(|error| config_failure(&error))
}

/// Makes a failure of a configuration error.
pub(crate) fn config_failure(error: &config::ConfigError) -> Failure {
    let failure = Failure::from_error(Exit::USAGE, "load the configuration", error);
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Keeps the pairs that are UTF-8; the others are none of ours.
pub(crate) fn utf8((name, value): (std::ffi::OsString, std::ffi::OsString)) -> Option<(String, String)> {
    Some((name.into_string().ok()?, value.into_string().ok()?))
}

/// A number that this process alone uses, and what goes with it.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Holds the lock, and says which folder the slot's process works in.
    file: File,
    /// What tells the instances of this slot from all others on the host.
    pub(crate) owner: String,
}

impl Slot {
    /// Takes the first free number of a cache folder, and removes the folder of its former process if that died.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub(crate) fn take(cache_dir: &Path) -> io::Result<Self> {
        let locks = cache_dir.join("embedded");
        paths::create_private(&locks)?;
        let place = stable_hash(&locks.canonicalize()?.to_string_lossy());
        for number in 0..SLOTS_MAX {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(locks.join(format!("{number}.lock")))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => continue,
                Err(errno) => return Err(errno.into()),
            }
            let mut former = String::new();
            (&mut file).take(4_096).read_to_string(&mut former).ok();
            remove_former(Path::new(former.trim()));
            // The number is unique among those who share the folder of locks, and only among them.
            return Ok(Self {
                file,
                owner: format!("run-{place:016x}-{number}"),
            });
        }
        Err(io::Error::other(format!(
            "{SLOTS_MAX} embedded platforms run already"
        )))
    }

    /// Makes the folder to work in, and remembers it for whoever comes after a sudden end.
    fn make_folder(&mut self) -> io::Result<TempDir> {
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(base())?;
        self.write(&folder.path().display().to_string())?;
        Ok(folder)
    }

    fn forget(mut self) {
        self.write("").ok();
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())
    }
}

/// Removes what a killed process left, if it is what it should be: a folder of ours in the place for such folders.
fn remove_former(folder: &Path) {
    let is_ours = folder
        .file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with(PREFIX))
        && fs::symlink_metadata(folder)
            .is_ok_and(|meta| meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw());
    if is_ours {
        // It is only room; the next one tries again.
        fs::remove_dir_all(folder).ok();
    }
}

/// Returns where temporary folders go; `/tmp` where the usual place has too long a name for a socket.
fn base() -> PathBuf {
    let usual = std::env::temp_dir();
    if usual.as_os_str().len() + PREFIX.len() + 8 <= FOLDER_BYTES_MAX {
        usual
    } else {
        PathBuf::from("/tmp")
    }
}
