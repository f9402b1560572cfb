//! One simulated instance.
//!
//! ```text
//! live ──last program ends, crash──▶ over (ByItself) ──stop──▶ nothing left
//!   └──────────────── stop, or the last reference dropped ──────▶ over (Stopped)
//! ```

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use vulcan_api::{InstanceId, Resources, Runtime, Usage};
use vulcan_guest_protocol::{ExitStatus, InvokeMode, RefusalCode};

use super::{
    backend::{Shared, locked},
    loaded::{Memory, Part},
    machine::{Job, Machine},
};
use crate::{
    BackendError, Exec, ExecRequest, Exited, Files, Instance, Invocation, LogSink, Outcome, Root,
    StartRequest,
};

/// The owner's reference; when it goes, so does the instance.
pub(super) struct SimulatedInstance(pub(super) Arc<Inner>);

/// What an instance and its running programs share.
pub(super) struct Inner {
    id: InstanceId,
    pub(super) resources: Resources,
    shared: Arc<Shared>,
    /// Asked to end: SIGTERM.
    pub(super) terminated: CancellationToken,
    /// Ended: SIGKILL.
    pub(super) killed: CancellationToken,
    programs: TaskTracker,
    over: watch::Sender<Option<Exited>>,
    present: Mutex<bool>,
    /// What it stands on, until its end.
    root: Mutex<Option<Arc<Root>>>,
    pub(super) files: Mutex<BTreeMap<String, Bytes>>,
    pub(super) disk_used: Mutex<u64>,
    pub(super) usage: Mutex<Usage>,
    pub(super) memory: Mutex<Memory>,
}

impl Inner {
    pub(super) fn new(shared: Arc<Shared>, request: &StartRequest) -> Arc<Self> {
        shared.live.fetch_add(1, Ordering::SeqCst);
        Arc::new(Self {
            id: request.instance,
            resources: request.resources,
            shared,
            terminated: CancellationToken::new(),
            killed: CancellationToken::new(),
            programs: TaskTracker::new(),
            over: watch::Sender::new(None),
            present: Mutex::new(true),
            root: Mutex::new(request.root.clone()),
            files: Mutex::default(),
            disk_used: Mutex::new(0),
            usage: Mutex::new(Usage {
                cpu_ms: 0.0,
                mem_peak_mb: Some(1.0),
            }),
            memory: Mutex::default(),
        })
    }

    pub(super) fn id(&self) -> InstanceId {
        self.id
    }

    /// Notes the end; the first one counts.
    pub(super) fn over(&self, exited: Exited) {
        self.over
            .send_if_modified(|over| over.is_none() && over.replace(exited).is_none());
        self.killed.cancel();
    }

    /// Says what a program sees of the end of its instance.
    pub(super) fn ended(&self) -> BackendError {
        match *self.over.borrow() {
            Some(Exited::ByItself) => BackendError::Lost {
                reason: "it crashed".to_owned(),
            },
            Some(Exited::Stopped) | None => BackendError::Stopped,
        }
    }

    /// Kills everything and waits until it is gone.
    pub(super) async fn end(&self) {
        self.over(Exited::Stopped);
        self.programs.close();
        self.programs.wait().await;
        self.leave();
    }

    fn leave(&self) {
        if std::mem::replace(&mut *locked(&self.present), false) {
            self.shared.live.fetch_sub(1, Ordering::SeqCst);
            locked(&self.root).take();
        }
    }

    /// Runs a job on a task of its own, so that a caller who goes away does not end it.
    async fn run(self: &Arc<Self>, job: Job, logs: LogSink) -> Result<Outcome, BackendError> {
        if self.killed.is_cancelled() {
            return Err(BackendError::Stopped);
        }
        let inner = Arc::clone(self);
        let task = self.programs.spawn(async move {
            let result = Machine::new(&inner, logs).run(&job).await;
            let reusable = result.as_ref().ok().and_then(|(outcome, _)| outcome.reusable);
            locked(&inner.memory).end(job.part, reusable);
            if Self::ends_with(&job, &result) {
                inner.over(Exited::ByItself);
            }
            result.map(|(outcome, _)| outcome)
        });
        task.await.unwrap_or_else(|_| {
            Err(BackendError::Lost {
                reason: "the simulation panicked".to_owned(),
            })
        })
    }

    /// Returns whether nothing lives on after a job: its program was the instance's only one, or took the guest with it.
    fn ends_with(job: &Job, result: &Result<(Outcome, bool), BackendError>) -> bool {
        match (result, job.mode) {
            (Ok((_, true)), _) | (Ok(_), InvokeMode::Once) => true,
            (Ok((outcome, false)), InvokeMode::Warm | InvokeMode::Forked) => outcome.reusable.is_none(),
            (Ok((_, false)), InvokeMode::Beside) => false,
            (Err(error), mode) => {
                mode == InvokeMode::Once
                    || matches!(error, BackendError::Lost { .. } | BackendError::Protocol { .. })
            }
        }
    }

    fn ensure_live(&self, path: &str) -> Result<(), BackendError> {
        if self.killed.is_cancelled() {
            return Err(BackendError::Stopped);
        }
        if path.starts_with('/') {
            return Ok(());
        }
        Err(refused(RefusalCode::Invalid, format!("{path} is not absolute")))
    }

    /// Writes a file within the disk's limit; says whether it fitted.
    pub(super) fn store(&self, path: &str, bytes: Bytes) -> bool {
        let mut used = locked(&self.disk_used);
        let wanted = *used + bytes.len() as u64;
        if wanted > u64::from(self.resources.disk_mb) << 20 {
            return false;
        }
        *used = wanted;
        locked(&self.files).insert(path.to_owned(), bytes);
        true
    }
}

impl Drop for SimulatedInstance {
    fn drop(&mut self) {
        if self.0.over.borrow().is_none() && self.0.shared.leave_behind(&self.0) {
            return;
        }
        // What still runs sees the kill and ends by itself.
        self.0.over(Exited::Stopped);
        self.0.leave();
    }
}

#[async_trait]
impl Instance for SimulatedInstance {
    async fn invoke(&self, invocation: Invocation, logs: LogSink) -> Result<Outcome, BackendError> {
        tokio::select! {
            passed = self.0.shared.invoke.pass() => passed?,
            () = self.0.killed.cancelled() => return Err(BackendError::Stopped),
        }
        let part = locked(&self.0.memory).begin(&invocation)?;
        self.0.run(job_of(&invocation, part), logs).await
    }

    async fn wait(&self) -> Exited {
        let mut over = self.0.over.subscribe();
        let exited = over.wait_for(Option::is_some).await.map(|exited| *exited);
        exited.ok().flatten().unwrap_or(Exited::Stopped)
    }

    async fn stop(&self, grace: Duration) -> Result<(), BackendError> {
        let passed = self.0.shared.stop.pass().await;
        self.0.terminated.cancel();
        self.0.programs.close();
        // A late program is killed below.
        let _ = tokio::time::timeout(grace, self.0.programs.wait()).await;
        self.0.end().await;
        passed
    }

    async fn usage(&self) -> Result<Usage, BackendError> {
        Ok(*locked(&self.0.usage))
    }

    fn exec(&self) -> Option<&dyn Exec> {
        Some(self)
    }

    fn files(&self) -> Option<&dyn Files> {
        Some(self)
    }
}

#[async_trait]
impl Exec for SimulatedInstance {
    async fn run(&self, request: ExecRequest, logs: LogSink) -> Result<ExitStatus, BackendError> {
        let Some((program, lines)) = request
            .argv
            .split_first()
            .filter(|(program, _)| *program == "sim")
        else {
            return Err(refused(RefusalCode::NotFound, "only 'sim' can be run".to_owned()));
        };
        let job = Job {
            name: program.clone(),
            text: lines.join("\n"),
            compile: false,
            input: request.stdin,
            args: Vec::new(),
            env: request.env,
            output_bytes_max: 0,
            mode: InvokeMode::Beside,
            part: Part::Whole,
        };
        Ok(self.0.run(job, logs).await?.status)
    }
}

#[async_trait]
impl Files for SimulatedInstance {
    async fn read(&self, path: &str, bytes_max: usize) -> Result<Bytes, BackendError> {
        self.0.ensure_live(path)?;
        let file = locked(&self.0.files).get(path).cloned();
        match file {
            None => Err(refused(
                RefusalCode::NotFound,
                format!("nothing exists at {path}"),
            )),
            Some(bytes) if bytes.len() > bytes_max => {
                let message = format!("{path} has {} bytes; the limit is {bytes_max}", bytes.len());
                Err(refused(RefusalCode::TooLarge, message))
            }
            Some(bytes) => Ok(bytes),
        }
    }

    async fn write(&self, path: &str, _mode: u32, bytes: Bytes) -> Result<(), BackendError> {
        self.0.ensure_live(path)?;
        if self.0.store(path, bytes) {
            return Ok(());
        }
        Err(refused(
            RefusalCode::Io,
            format!("could not write {path}: no space left on device"),
        ))
    }
}

fn job_of(invocation: &Invocation, part: Part) -> Job {
    let program = &invocation.program;
    Job {
        name: program.code.entrypoint().to_owned(),
        text: String::from_utf8_lossy(program.code.bytes()).into_owned(),
        compile: program.runtime == Runtime::Go,
        input: program.input.clone(),
        args: program.args.clone(),
        env: program.env.clone(),
        output_bytes_max: invocation.output_bytes_max,
        mode: invocation.mode,
        part,
    }
}

fn refused(code: RefusalCode, message: String) -> BackendError {
    BackendError::Refused { code, message }
}
