//! A place of its own for every test: home, cache, temporary folder, and the binary with nothing else in its environment.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStdout, Command},
    time::{Instant, sleep, timeout},
};

/// The longest that anything here may take, on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A place of its own.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        // Short, because a socket's path is.
        let place = Self(tempfile::Builder::new().prefix("vt-").tempdir_in("/tmp").unwrap());
        fs::create_dir(place.temporary()).unwrap();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Where the binary puts temporary folders.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.path("tmp")
    }

    /// Writes a file, and returns its path.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Returns the binary with arguments, in this place.
    pub(crate) fn vulcan(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vulcan"));
        command
            .args(args)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", self.0.path())
            .env("TMPDIR", self.temporary())
            .env("VULCAN_CACHE_DIR", self.path("cache"))
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs the binary to its end.
    pub(crate) async fn run(&self, args: &[&str]) -> Ended {
        ended(self.vulcan(args)).await
    }

    /// Runs code in the binary's own process.
    pub(crate) async fn embedded(&self, args: &[&str]) -> Ended {
        self.run(&[&["run", "--embedded"], args].concat()).await
    }

    /// Returns what is left in the temporary folder.
    pub(crate) fn leftovers(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.temporary()).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

/// How the binary ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Fails the test with everything that is known, unless the exit code is the wanted one.
    #[track_caller]
    pub(crate) fn with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

pub(crate) async fn ended(mut command: Command) -> Ended {
    timeout(LIMIT, command.output()).await.unwrap().unwrap().into()
}

/// Waits for the end of a process of which some output was read.
pub(crate) async fn end_of(mut child: Child) -> Ended {
    let mut stdout = String::new();
    let mut stderr = String::new();
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let reading = async {
        if let Some(mut out) = out {
            out.read_to_string(&mut stdout).await.unwrap();
        }
    };
    let complaining = async {
        if let Some(mut err) = err {
            err.read_to_string(&mut stderr).await.unwrap();
        }
    };
    let (status, (), ()) = timeout(LIMIT, async { tokio::join!(child.wait(), reading, complaining) })
        .await
        .unwrap();
    Ended {
        code: status.unwrap().code(),
        stdout,
        stderr,
    }
}

/// Sends a signal to a process of this test.
pub(crate) fn send(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// Reads lines until one contains `text`.
pub(crate) async fn line_with(lines: &mut BufReader<ChildStdout>, text: &str) -> String {
    let reading = async {
        loop {
            let mut line = String::new();
            assert_ne!(
                lines.read_line(&mut line).await.unwrap(),
                0,
                "it ended without '{text}'"
            );
            if line.contains(text) {
                return line.trim().to_owned();
            }
        }
    };
    timeout(LIMIT, reading).await.unwrap()
}

/// Polls until a condition holds.
pub(crate) async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Returns whether a process on this machine has exactly this argument.
pub(crate) fn is_running(argument: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .map(|entry| entry.path())
        .any(|path| has(&path, argument))
}

fn has(process: &Path, argument: &str) -> bool {
    let line = fs::read(process.join("cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0)
        .any(|word| word == argument.as_bytes())
}

/// A server that is ended in order at the end of the test, so that nothing of it stays on the host.
pub(crate) struct Server {
    child: Option<Child>,
    pub(crate) url: String,
    /// What it said before.
    pub(crate) said: String,
}

impl Server {
    pub(crate) async fn start(place: &Place) -> Self {
        Self::start_with(place, &[]).await
    }

    /// Starts a server with more environment.
    pub(crate) async fn start_with(place: &Place, variables: &[(&str, &str)]) -> Self {
        let data = place.path("data");
        let args = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--data-dir",
            data.to_str().unwrap(),
        ];
        let mut child = place
            .vulcan(&args)
            .envs(variables.iter().copied())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        let url = loop {
            let line = line_with(&mut lines, "").await;
            if let Some(url) = line.strip_prefix("listening on ") {
                break url.to_owned();
            }
            said.push_str(&line);
            said.push('\n');
        };
        Self {
            child: Some(child),
            url,
            said,
        }
    }

    /// Returns the process.
    pub(crate) fn child(&self) -> &Child {
        self.child.as_ref().unwrap()
    }

    /// Leaves the end of the process to the test.
    pub(crate) fn into_child(mut self) -> Child {
        self.child.take().unwrap()
    }

    /// Runs the binary against this server.
    pub(crate) async fn run(&self, place: &Place, args: &[&str]) -> Ended {
        let mut command = place.vulcan(args);
        command.env("VULCAN_SERVER", &self.url);
        ended(command).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &self.child
            && child.id().is_some()
        {
            send(child, Signal::TERM);
            // Left as it is for its owner to reap.
            let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            waitid(WaitId::Pid(pid), options).unwrap();
        }
    }
}
