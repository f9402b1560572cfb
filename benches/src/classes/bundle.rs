//! A bundle with nothing but busybox: what bare OCI runtimes run.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::{Value, json};

use crate::{
    bare::Bare,
    context::{Context as _, Failure},
};

/// Debian's static busybox: `busybox-static`.
pub(super) const BUSYBOX: &str = "/bin/busybox";

/// An OCI runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runtime {
    /// runc.
    Runc,
    /// gVisor's runsc, without a network.
    Runsc,
}

impl Runtime {
    /// Returns the command as one would type it.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Runc => "runc run, busybox true",
            Self::Runsc => "runsc run, busybox true",
        }
    }

    /// Runs the bundle in `folder` once, and returns the milliseconds; makes it where it is not there yet.
    ///
    /// # Errors
    ///
    /// When the runtime is missing or fails.
    pub(super) fn time(self, folder: &Path) -> Result<f64, Failure> {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let bundle = bundle(folder)?;
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let name = format!("vulcan-bench-{}-{run}", std::process::id());
        let bundle = bundle.to_string_lossy();
        match self {
            Self::Runc => Bare::new(["runc", "run", "--bundle", &bundle, &name]).time(),
            Self::Runsc => Bare::new(["runsc", "--network=none", "run", "--bundle", &bundle, &name]).time(),
        }
    }
}

fn bundle(folder: &Path) -> Result<PathBuf, Failure> {
    let bundle = folder.join("bundle");
    if !bundle.exists() {
        make(&bundle).doing("make a bundle")?;
    }
    Ok(bundle)
}

/// Makes what `runc spec` says, with busybox as the program.
fn make(bundle: &Path) -> io::Result<()> {
    let programs = bundle.join("rootfs/bin");
    fs::create_dir_all(&programs)?;
    fs::copy(BUSYBOX, programs.join("busybox"))?;
    let made = Command::new("runc")
        .args(["spec", "--bundle"])
        .arg(bundle)
        .stdin(Stdio::null())
        .status()?;
    if !made.success() {
        return Err(io::Error::other(format!("runc spec: {made}")));
    }
    let path = bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path)?)?;
    config["process"]["args"] = json!([BUSYBOX, "true"]);
    config["process"]["terminal"] = json!(false);
    fs::write(path, config.to_string())
}
