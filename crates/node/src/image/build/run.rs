//! A `RUN` step: a command in an instance of its own, whose changes are a layer. Never on the host.

use std::{
    collections::{BTreeMap, VecDeque},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use rustix::fs::{AtFlags, CWD, FileType, statat};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout, timeout_at},
};
use vulcan_api::{
    Code, ErrorCode, ImageEvent, ImageProgram, InstanceId, Network, ProblemKind, Program, Readiness, Runtime,
    WorkloadId,
};
use vulcan_backend::{
    Backend, BackendError, ExitStatus, Instance, Invocation, InvokeMode, LogChunk, Outcome, Root,
    StartRequest, Upper,
};
use vulcan_bus::ImageResult;

use crate::{
    host,
    image::{
        Digest, Events, Images, Layer, LayerSource, Scratch,
        layer::root_folders,
        problem::{blocking, disk, problem, refuse},
    },
    outcome::chain,
};

/// How many last lines of a step are part of the problem when it fails.
const LINES_KEPT: usize = 15;
/// A longer line of a step's output is cut in pieces of this size, in bytes.
const LINE_BYTES_MAX: usize = 4096;
/// How often what a step has written is measured while it runs.
const MEASURE_EVERY: Duration = Duration::from_millis(500);
/// How long the end of an instance may take.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
/// What an instance's agent leaves in the root, and no image has.
const AGENTS: &str = "vulcan";

/// What a step runs, and on what.
pub(super) struct Run<'a> {
    pub(super) argv: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) working_dir: String,
    pub(super) user: String,
    /// The lowest first; at least one.
    pub(super) layers: &'a [Layer],
}

impl Images {
    /// Runs a step, and returns what it changed as a layer. Dropping it ends the instance.
    ///
    /// # Errors
    ///
    /// A problem with the step's last lines, when it fails, takes too long, writes too much, or cannot be run on this node.
    pub(super) async fn run_step(
        &self,
        run: Run<'_>,
        backend: &dyn Backend,
        events: &Events,
    ) -> ImageResult<Layer> {
        let scratch = self.scratch()?;
        let upper = scratch.path().join("upper");
        fs::create_dir(&upper).map_err(|error| disk("make", &upper, &error))?;
        let resources = self.setup.options.build.step();
        let now = self.setup.clock.now();
        let request = StartRequest {
            instance: InstanceId::generate(now, host::random()),
            resources,
            network: Network::None,
            prepare: None,
            root: Some(Arc::new(root(run.layers))),
            upper: Upper::Folder(upper.clone()),
        };
        let below: Vec<PathBuf> = run.layers.iter().map(|layer| layer.folder.clone()).collect();
        let limit = Duration::try_from_secs_f64(resources.timeout_s).unwrap_or_default();
        let invocation = Invocation {
            workload: WorkloadId::generate(now, host::random()),
            program: Program {
                image: None,
                runtime: Runtime::Image,
                code: Code::Image(ImageProgram {
                    argv: run.argv,
                    working_dir: run.working_dir,
                    user: run.user,
                }),
                input: Bytes::new(),
                args: Vec::new(),
                env: run.env,
            },
            timeout: limit,
            output_bytes_max: 0,
            mode: InvokeMode::Beside,
        };
        let instance = backend
            .start(request)
            .await
            .map_err(|error| failed(format!("no instance could be started for it: {}", chain(&error))))?;
        let bytes_max = u64::from(resources.disk_mb) << 20;
        let mut told = Told::new(events);
        let ended = tokio::select! {
            ended = within(instance.as_ref(), invocation, limit, &mut told) => ended,
            full = grows_beyond(&upper, bytes_max) => full,
        };
        told.flush().await;
        match timeout(STOP_DEADLINE, instance.stop(Duration::ZERO)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(failed(format!("its instance did not end: {}", chain(&error)))),
            Err(_) => {
                return Err(failed(format!(
                    "its instance did not end within {STOP_DEADLINE:?}"
                )));
            }
        }
        drop(instance);
        if let Err(why) = ended {
            return Err(failed(told.with_last_lines(&why)));
        }
        let (scratch, upper) = tidy(scratch, upper, below, bytes_max).await?;
        let layer = self.add_layer(LayerSource::Folder(upper), now).await;
        drop(scratch);
        layer
    }

    /// Returns the first class that can run steps here.
    ///
    /// # Errors
    ///
    /// When there is none, with the reasons.
    pub(super) async fn builder(&self) -> ImageResult<Arc<dyn Backend>> {
        let mut reasons = Vec::new();
        for backend in &self.setup.builders {
            let isolation = backend.capabilities().isolation;
            match backend.probe().await.readiness {
                Readiness::Ready | Readiness::Degraded { .. } => return Ok(Arc::clone(backend)),
                Readiness::Unfit { reasons: why, .. } => {
                    reasons.push(format!("{isolation}: {}", why.join(", ")));
                }
            }
        }
        refuse(
            ProblemKind::IsolationUnavailable,
            format!(
                "RUN needs an instance that stands on an image, and this node has no class for it ({}); see 'vulcan doctor'",
                if reasons.is_empty() {
                    "none is set up".to_owned()
                } else {
                    reasons.join("; ")
                }
            ),
        )
    }
}

/// What an instance stands on; the layers stay for as long as it does.
fn root(layers: &[Layer]) -> Root {
    let ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
    Root {
        digest: Digest::of(ids.join("\n").as_bytes()).to_string(),
        layers: root_folders(layers),
        lease: Box::new(layers.to_vec()),
    }
}

/// Runs a program to its end; in words why it did not succeed.
async fn within(
    instance: &dyn Instance,
    invocation: Invocation,
    limit: Duration,
    told: &mut Told<'_>,
) -> Result<(), String> {
    let deadline = Instant::now() + limit;
    let (logs, mut chunks) = mpsc::channel::<LogChunk>(16);
    let invoked = instance.invoke(invocation, logs);
    tokio::pin!(invoked);
    let outcome: Result<Outcome, BackendError> = loop {
        // Every branch is cancel-safe: one is polled by reference, and receiving loses nothing.
        tokio::select! {
            outcome = timeout_at(deadline, &mut invoked) => match outcome {
                Ok(outcome) => break outcome,
                Err(_) => return Err(format!("it took longer than {limit:?}")),
            },
            Some(chunk) = chunks.recv() => told.take(&chunk.bytes).await,
        }
    };
    while let Ok(chunk) = chunks.try_recv() {
        told.take(&chunk.bytes).await;
    }
    match outcome {
        Ok(Outcome { error: None, .. }) => Ok(()),
        // What it prints is a log, whatever it looks like: nobody wants a value of a step.
        Ok(Outcome {
            status: ExitStatus::Code(0),
            error: Some(error),
            ..
        }) if matches!(error.code, ErrorCode::OutputTooLarge | ErrorCode::OutputInvalid) => Ok(()),
        Ok(Outcome {
            error: Some(error), ..
        }) => Err(error.message),
        Err(error) => Err(chain(&error)),
    }
}

/// Ends when a folder holds more than it may.
async fn grows_beyond(folder: &Path, bytes_max: u64) -> Result<(), String> {
    loop {
        sleep(MEASURE_EVERY).await;
        let measured = folder.to_owned();
        // What vanishes while it is measured is no error; what cannot be measured is measured at the end.
        let bytes = tokio::task::spawn_blocking(move || size(&measured))
            .await
            .unwrap_or(0);
        if bytes > bytes_max {
            return Err(format!("it wrote more than {} MiB", bytes_max >> 20));
        }
    }
}

/// Returns the bytes that a folder takes on disk.
fn size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(
            |entry| match statat(CWD, entry.path(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_dir() => size(&entry.path()),
                // Blocks are of 512 bytes, stat(2).
                Ok(stat) => stat.st_blocks.unsigned_abs() * 512,
                Err(_) => 0,
            },
        )
        .sum()
}

/// Takes away what instances leave in their root and the step did not make.
async fn tidy(
    scratch: Scratch,
    upper: PathBuf,
    below: Vec<PathBuf>,
    bytes_max: u64,
) -> ImageResult<(Scratch, PathBuf)> {
    blocking(move || {
        let is_below = |name: &str| {
            below
                .iter()
                .any(|layer| fs::symlink_metadata(layer.join(name)).is_ok())
        };
        if !is_below(AGENTS) {
            remove_if_there(fs::remove_dir_all(upper.join(AGENTS)))
                .map_err(|error| disk("change", &upper, &error))?;
        }
        for name in ["proc", "sys", "dev", "work"] {
            if !is_below(name) {
                // One that the step put something into stays.
                let _ = fs::remove_dir(upper.join(name));
            }
        }
        if size(&upper) > bytes_max {
            return refuse(
                ProblemKind::ImageBuildFailed,
                format!("the step wrote more than {} MiB", bytes_max >> 20),
            );
        }
        Ok((scratch, upper))
    })
    .await
}

fn remove_if_there(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(())
        }
        removed => removed,
    }
}

fn failed(detail: String) -> Box<vulcan_api::Problem> {
    problem(ProblemKind::ImageBuildFailed, detail)
}

/// A step's output, line by line.
struct Told<'a> {
    events: &'a Events,
    open: Vec<u8>,
    last: VecDeque<String>,
}

impl<'a> Told<'a> {
    const fn new(events: &'a Events) -> Self {
        Self {
            events,
            open: Vec::new(),
            last: VecDeque::new(),
        }
    }

    async fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            for part in piece.chunks(LINE_BYTES_MAX) {
                self.open.extend_from_slice(part);
                if part.ends_with(b"\n") || self.open.len() >= LINE_BYTES_MAX {
                    self.flush().await;
                }
            }
        }
    }

    async fn flush(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let text = String::from_utf8_lossy(&self.open)
            .trim_end_matches(['\n', '\r'])
            .to_owned();
        self.open.clear();
        self.last.push_back(text.clone());
        if self.last.len() > LINES_KEPT {
            self.last.pop_front();
        }
        // Whoever listened may be gone.
        let _ = self.events.send(ImageEvent::Log { text }).await;
    }

    fn with_last_lines(&self, why: &str) -> String {
        if self.last.is_empty() {
            return why.to_owned();
        }
        let lines: Vec<&str> = self.last.iter().map(String::as_str).collect();
        format!("{why}; its last lines:\n{}", lines.join("\n"))
    }
}
