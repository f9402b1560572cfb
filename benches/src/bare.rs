//! Bare commands: the floor that the platform is compared with.

use std::{
    ffi::OsString,
    path::Path,
    process::{Command, Stdio},
};

use tokio::time::Instant;

use crate::context::{Context as _, Failure};

/// A command without its arguments' meaning.
#[derive(Debug, Clone)]
pub(crate) struct Bare(Vec<OsString>);

impl Bare {
    /// Makes a command from its program and arguments.
    pub(crate) fn new<const N: usize>(argv: [&str; N]) -> Self {
        Self(argv.into_iter().map(OsString::from).collect())
    }

    /// Runs the program in all namespaces that bubblewrap makes, seeing nothing but itself.
    pub(crate) fn bubblewrap(program: &Path) -> Self {
        let mut argv: Vec<OsString> = ["bwrap", "--unshare-all", "--ro-bind"].map(OsString::from).into();
        argv.extend([program.into(), "/program".into(), "/program".into()]);
        Self(argv)
    }

    /// The same, seeing about what the sandbox shows: the system's programs, /proc, /dev, and a writable folder.
    pub(crate) fn bubblewrap_with_view(program: &Path) -> Self {
        let view = "bwrap --unshare-all --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --proc /proc \
                    --dev /dev --tmpfs /tmp --ro-bind";
        let mut argv: Vec<OsString> = view.split_whitespace().map(OsString::from).collect();
        argv.extend([program.into(), "/program".into(), "/program".into()]);
        Self(argv)
    }

    /// Returns the command as one would type it.
    pub(crate) fn text(&self) -> String {
        let words = self.0.iter().map(|word| match Path::new(word) {
            path if path.starts_with(std::env::temp_dir()) && path.is_file() => {
                path.file_name().unwrap_or_default().to_string_lossy()
            }
            _ => word.to_string_lossy(),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    /// Runs it to its end, and returns the milliseconds.
    ///
    /// # Errors
    ///
    /// When it cannot be started, or fails.
    pub(crate) fn time(&self) -> Result<f64, Failure> {
        let start = Instant::now();
        let status = Command::new(&self.0[0])
            .args(&self.0[1..])
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .doing(format!("start {}", self.text()))?;
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        if status.success() {
            return Ok(milliseconds);
        }
        Err(Failure::new(format!("run {}: {status}", self.text())))
    }
}
