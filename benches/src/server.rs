//! The server that is measured: started on a free port with a fresh data folder, stopped at the end.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStdout, Command},
    time::timeout,
};
use vulcan_client::Client;

use crate::context::{Context as _, Failure};

const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// The server prints its address within its first lines, or something is wrong.
const LINES_MAX: usize = 200;

/// A running server. Dropping it kills the process; [`Server::stop`] ends it in order.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    pid: u32,
    client: Client,
}

impl Server {
    /// Starts a server with its data, its cache and its log in `folder`.
    ///
    /// # Errors
    ///
    /// When it does not listen in time.
    pub(crate) async fn start(binary: &Path, folder: &Path) -> Result<Self, Failure> {
        let log = File::create(log(folder)).doing("make the server's log")?;
        let mut process = Command::new(binary)
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data(folder))
            .env("VULCAN_CACHE_DIR", folder.join("cache"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .doing(format!("start {}", binary.display()))?;
        let pid = process
            .id()
            .ok_or_else(|| Failure::new("learn the server's process id"))?;
        let output = process
            .stdout
            .take()
            .ok_or_else(|| Failure::new("read the server's output"))?;
        let address = timeout(START_LIMIT, address(output))
            .await
            .doing("wait for the server's address")??;
        let endpoint = format!("http://{address}")
            .parse()
            .doing("read the server's address")?;
        let client = Client::new(endpoint).doing("make a client")?;
        client.health(START_LIMIT).await.doing("reach the server")?;
        Ok(Self { process, pid, client })
    }

    /// Returns the process id.
    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns a client.
    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    /// Returns host and port.
    pub(crate) fn address(&self) -> String {
        let endpoint = self.client.endpoint().to_string();
        endpoint.trim_start_matches("http://").to_owned()
    }

    /// Returns the resident memory in MiB.
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub(crate) fn rss_mb(&self) -> Result<f64, Failure> {
        let path = format!("/proc/{}/status", self.pid);
        let text = std::fs::read_to_string(path).doing("read the server's memory")?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: Option<f64> = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        kib.map(|kib| kib / 1024.0)
            .ok_or_else(|| Failure::new("find VmRSS of the server"))
    }

    /// Ends the server as its operator would, and waits until it is gone.
    ///
    /// # Errors
    ///
    /// When it does not end in time or not well; it is killed then.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Failure::new("use the server's process id"))?;
        kill_process(pid, Signal::TERM)
            .map_err(io::Error::from)
            .doing("end the server")?;
        let status = timeout(STOP_LIMIT, self.process.wait()).await;
        let status = status
            .doing("wait for the server's end")?
            .doing("wait for the server")?;
        if status.success() {
            return Ok(());
        }
        Err(Failure::new(format!("end the server well: {status}")))
    }
}

/// Returns the server's data folder below the benchmark's.
pub(crate) fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// Returns the last lines of the server's log, for whoever looks for the cause of a failure.
pub(crate) fn last_words(folder: &Path) -> String {
    const LINES: usize = 20;
    let text = std::fs::read_to_string(log(folder)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

fn log(folder: &Path) -> PathBuf {
    folder.join("server.log")
}

/// Reads the server's first lines until one names where it listens; the rest is read and dropped in the background.
async fn address(output: ChildStdout) -> Result<String, Failure> {
    let mut lines = BufReader::new(output).lines();
    for _ in 0..LINES_MAX {
        let line = lines.next_line().await.doing("read the server's output")?;
        let line = line.ok_or_else(|| Failure::new("learn the server's address: it ended"))?;
        if let Some(address) = address_in(&line) {
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok(address);
        }
    }
    Err(Failure::new("find the server's address in its output"))
}

fn address_in(line: &str) -> Option<String> {
    const HOST: &str = "127.0.0.1:";
    let port: String = line
        .split_once(HOST)?
        .1
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    (port.parse::<u16>().ok()? != 0).then(|| format!("{HOST}{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_any_line_that_names_a_port() {
        assert_eq!(
            address_in(r#"{"url":"http://127.0.0.1:4711"}"#).as_deref(),
            Some("127.0.0.1:4711")
        );
        assert_eq!(address_in("listen 127.0.0.1:0"), None);
        assert_eq!(address_in("ready"), None);
    }
}
