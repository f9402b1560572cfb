//! How many calls a class takes per second, with the load generator on the same machine.
//!
//! The generator is wrk where it is installed, because it costs least; otherwise threads of our own. Either is only believed as
//! far as the server's own counts agree.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde::Serialize;
use tokio::time::Instant;

use super::{lean::Lean, scrape::Counts, targets::Target};
use crate::{
    context::{Context as _, Failure},
    server::Server,
};

/// Connections that are kept busy.
const CONNECTIONS: usize = 16;

/// What a load came to, as the server counted it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Rate {
    /// Who made the load.
    pub(crate) generator: &'static str,
    /// Connections that were kept busy.
    pub(crate) connections: usize,
    /// Seconds of load.
    pub(crate) seconds: f64,
    /// Workloads that completed per second.
    pub(crate) per_second: f64,
    /// The part of them that was started as wanted.
    pub(crate) started_so: f64,
    /// Workloads that ended otherwise.
    pub(crate) failed: f64,
    /// The least that there must be per second.
    pub(crate) wanted: f64,
}

/// Keeps the connections busy for some seconds, after one that does not count.
///
/// # Errors
///
/// When the load cannot be made.
pub(super) async fn measure(
    server: &Server,
    target: &Target,
    (wanted, seconds): (f64, u64),
    folder: &Path,
) -> Result<Rate, Failure> {
    let address = server.address();
    let body = target.body();
    let generator = if has_wrk() { "wrk" } else { "threads" };
    let load = |seconds: u64| match generator {
        "wrk" => wrk(&address, &body, seconds, folder),
        _ => threads(&address, &body, Duration::from_secs(seconds)),
    };
    load(1)?;
    let before = Counts::now(server.client(), target.isolation, target.start).await?;
    let took = load(seconds)?;
    let after = Counts::now(server.client(), target.isolation, target.start).await?;
    let counted = after.since(before);
    Ok(Rate {
        generator,
        connections: CONNECTIONS,
        seconds: took,
        per_second: counted.completed / took,
        started_so: counted.started_so / counted.completed.max(1.0),
        failed: counted.failed,
        wanted,
    })
}

fn has_wrk() -> bool {
    // It says its version, and ends with 1.
    Command::new("wrk")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

/// Returns the seconds that it took.
fn wrk(address: &str, body: &str, seconds: u64, folder: &Path) -> Result<f64, Failure> {
    let script = folder.join("post.lua");
    // Lua's long brackets take everything but their own end.
    let text = format!(
        "wrk.method = \"POST\"\nwrk.headers[\"Content-Type\"] = \"application/json\"\nwrk.body = [==[{body}]==]\n"
    );
    fs::write(&script, text).doing("write wrk's script")?;
    let start = Instant::now();
    let output = Command::new("wrk")
        .args(["--threads", "1", "--connections", &CONNECTIONS.to_string()])
        .args(["--duration", &format!("{seconds}s"), "--script"])
        .arg(&script)
        .arg(format!("http://{address}/v1/workloads"))
        .output()
        .doing("start wrk")?;
    let took = start.elapsed().as_secs_f64();
    if output.status.success() {
        return Ok(took);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("make load with wrk: {}", said.trim())))
}

/// Returns the seconds that it took.
fn threads(address: &str, body: &str, duration: Duration) -> Result<f64, Failure> {
    let start = Instant::now();
    let until = start + duration;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Lean::connect(address, body)?;
                    while Instant::now() < until {
                        client.call()?;
                    }
                    Ok(())
                })
            })
            .collect();
        clients.into_iter().try_for_each(|client| match client.join() {
            Ok(ended) => ended,
            Err(_) => Err(Failure::new("make load: a thread died")),
        })
    })?;
    Ok(start.elapsed().as_secs_f64())
}
