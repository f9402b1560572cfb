//! One live instance in a slot.

use std::{future::Future, os::fd::OwnedFd, sync::OnceLock, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{io::unix::AsyncFd, sync::Mutex};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use vulcan_api::{ErrorCode, Footprint, Resources, Usage, WorkloadError};
use vulcan_backend::{
    Ability, BackendError, Exec, ExecRequest, ExitStatus, Exited, Files, GuestClient, Instance, Invocation,
    LogSink, Outcome,
};
use vulcan_host::{
    launcher::Launched,
    process::{ProcessMemory, cpu_time_of, family_of, memory_of},
};

use crate::{LastWords, pool::Lease, watch};

/// How long the kernel gets to end what was killed; longer means that something hangs inside of it.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// How long output that was written before a stop may take to reach a reader; one that is slower does not get it.
const DRAIN_DEADLINE: Duration = Duration::from_secs(1);

/// Asks a program to end (man 7 signal).
const SIGTERM: u8 = 15;

/// What an instance is made of.
pub(crate) struct Parts {
    pub(crate) client: GuestClient,
    pub(crate) launched: Launched,
    pub(crate) lease: Lease,
    pub(crate) resources: Resources,
    pub(crate) abilities: &'static [Ability],
    pub(crate) last_words: Option<LastWords>,
    pub(crate) hears_signals: bool,
}

/// An instance: PID 1 of its namespaces in a leased slot.
pub struct SlotInstance {
    client: GuestClient,
    pid: i32,
    pidfd: AsyncFd<OwnedFd>,
    resources: Resources,
    abilities: &'static [Ability],
    last_words: Option<LastWords>,
    hears_signals: bool,
    stopping: CancellationToken,
    /// What is being said to the guest: programs, commands, files.
    conversations: TaskTracker,
    /// `None` once the instance is over and its slot given back.
    lease: Mutex<Option<Lease>>,
    usage_at_end: OnceLock<Usage>,
}

impl SlotInstance {
    pub(crate) fn new(parts: Parts) -> std::io::Result<Self> {
        Ok(Self {
            client: parts.client,
            pid: parts.launched.pid,
            pidfd: watch::readable(parts.launched.pidfd)?,
            resources: parts.resources,
            abilities: parts.abilities,
            last_words: parts.last_words,
            hears_signals: parts.hears_signals,
            stopping: CancellationToken::new(),
            conversations: TaskTracker::new(),
            lease: Mutex::new(Some(parts.lease)),
            usage_at_end: OnceLock::new(),
        })
    }

    /// Waits until every process of the instance is over: the kernel ends PID 1 last.
    async fn wait_for_end(&self) {
        match self.pidfd.readable().await {
            Ok(mut guard) => guard.retain_ready(),
            // Only when the runtime shuts down, and then everybody stops waiting.
            Err(error) => tracing::debug!(error = %error, "waiting for an instance was given up"),
        }
    }

    /// Waits for a conversation with the guest; a stop ends it.
    async fn unless_stopped<T>(
        &self,
        conversation: impl Future<Output = Result<T, BackendError>>,
    ) -> Result<T, BackendError> {
        let conversation = self.conversations.track_future(conversation);
        let after_stop = async {
            self.stopping.cancelled().await;
            self.wait_for_end().await;
            tokio::time::sleep(DRAIN_DEADLINE).await;
        };
        let result = tokio::select! {
            result = conversation => result,
            () = after_stop => Err(BackendError::Stopped),
        };
        if self.stopping.is_cancelled() {
            Err(BackendError::Stopped)
        } else {
            result
        }
    }

    /// Sends SIGTERM to every program, and waits until all have ended or `grace` is over.
    async fn ask_to_end(&self, grace: Duration) {
        self.conversations.close();
        // Whether they end in time or not, what follows is the same.
        let _ = tokio::time::timeout(grace, async {
            let asked = self.client.signal(SIGTERM).await;
            if asked.is_ok() {
                self.conversations.wait().await;
            }
        })
        .await;
    }

    fn kill(&self) {
        // It may have ended by itself.
        let _ = rustix::process::pidfd_send_signal(self.pidfd.get_ref(), rustix::process::Signal::KILL);
    }

    /// Returns the version of Landlock that confines the instance.
    pub(crate) async fn landlock_abi(&self) -> i32 {
        self.lease
            .lock()
            .await
            .as_ref()
            .map_or(0, |lease| lease.ready.landlock_abi)
    }

    async fn ran_out_of_memory(&self) -> bool {
        let lease = self.lease.lock().await;
        let usage = lease.as_ref().and_then(|lease| lease.usage().ok().flatten());
        usage.is_some_and(|usage| usage.oom_kills > 0)
    }

    fn out_of_memory(&self) -> WorkloadError {
        let message = format!(
            "the program needed more memory than its limit of {} MiB (resources.mem_mb)",
            self.resources.mem_mb
        );
        WorkloadError::new(ErrorCode::OutOfMemory, message)
    }

    /// Judges a program that took its interpreter, the guest itself, with it.
    fn of_crash(&self, words: &LastWords) -> Outcome {
        // Who sees its end is the launcher; interpreters end themselves by this signal.
        let signal = rustix::process::Signal::ABORT;
        if words.tell_of_memory() {
            return died(signal, self.out_of_memory());
        }
        let message = match words.told() {
            told if told.is_empty() => "the program ended its interpreter".to_owned(),
            told => format!("the program crashed its interpreter: {told}"),
        };
        died(signal, WorkloadError::new(ErrorCode::Signal, message))
    }

    /// Returns the processor time of all that lives in the instance and of all that was waited for; for want of a cgroup.
    fn cpu_time_of_family(&self) -> Duration {
        let family = u32::try_from(self.pid).map(family_of).unwrap_or_default();
        family.into_iter().filter_map(cpu_time_of).sum()
    }

    /// Reads what was used while the processes may still live.
    fn measure(&self, lease: &Lease) -> Result<Usage, BackendError> {
        let usage = lease.usage().map_err(|error| BackendError::Lost {
            reason: error.to_string(),
        })?;
        Ok(match usage {
            Some(usage) => Usage {
                cpu_ms: usage.cpu_time.as_secs_f64() * 1e3,
                mem_peak_mb: usage
                    .memory_peak_bytes
                    .map(|bytes| bytes as f64 / f64::from(1 << 20)),
            },
            None => Usage {
                cpu_ms: self.cpu_time_of_family().as_secs_f64() * 1e3,
                mem_peak_mb: None,
            },
        })
    }
}

/// Adds up all processes of an instance: its first one's descendants, wherever the control groups are. Blocks.
fn footprint_of(pid: i32) -> Option<Footprint> {
    let family = family_of(u32::try_from(pid).ok()?);
    let found: Vec<ProcessMemory> = family.into_iter().filter_map(memory_of).collect();
    (!found.is_empty()).then(|| Footprint {
        pss_bytes: found.iter().map(|memory| memory.pss_bytes).sum(),
        private_bytes: found.iter().map(|memory| memory.private_bytes).sum(),
        processes: u32::try_from(found.len()).unwrap_or(u32::MAX),
    })
}

/// Returns the outcome of a program that ended together with the guest.
fn died(signal: rustix::process::Signal, error: WorkloadError) -> Outcome {
    Outcome {
        status: ExitStatus::Signal(signal.as_raw()),
        output: None,
        error: Some(error),
        prepared_in: Duration::ZERO,
        reusable: None,
    }
}

#[async_trait]
impl Instance for SlotInstance {
    async fn invoke(&self, invocation: Invocation, logs: LogSink) -> Result<Outcome, BackendError> {
        match self.unless_stopped(self.client.invoke(invocation, logs)).await {
            Ok(outcome) if outcome.error.is_none() => Ok(outcome),
            Ok(outcome) if self.ran_out_of_memory().await => Ok(Outcome {
                error: Some(self.out_of_memory()),
                // The kernel's count stays: no later failure could be told from this one.
                reusable: None,
                ..outcome
            }),
            Err(BackendError::Lost { .. }) if self.ran_out_of_memory().await => {
                Ok(died(rustix::process::Signal::KILL, self.out_of_memory()))
            }
            Err(BackendError::Lost { reason }) => match &self.last_words {
                Some(words) => Ok(self.of_crash(words)),
                None => Err(BackendError::Lost { reason }),
            },
            other => other,
        }
    }

    async fn wait(&self) -> Exited {
        self.wait_for_end().await;
        if self.stopping.is_cancelled() {
            Exited::Stopped
        } else {
            Exited::ByItself
        }
    }

    async fn stop(&self, grace: Duration) -> Result<(), BackendError> {
        self.stopping.cancel();
        if self.hears_signals && !grace.is_zero() {
            self.ask_to_end(grace).await;
        }
        // The lock makes a second stop wait for the first, and a cancelled one leaves the lease for the next.
        let mut lease = self.lease.lock().await;
        let Some(leased) = lease.as_ref() else {
            return Ok(());
        };
        if let Ok(usage) = self.measure(leased) {
            let _ = self.usage_at_end.set(usage);
        }
        self.kill();
        let ended = tokio::time::timeout(KILL_DEADLINE, self.wait_for_end()).await;
        let Some(leased) = lease.take() else { return Ok(()) };
        match ended {
            Ok(()) => {
                leased.give_back();
                Ok(())
            }
            Err(_) => {
                drop(leased);
                let source = std::io::Error::from(std::io::ErrorKind::TimedOut);
                Err(BackendError::SweepFailed {
                    what: format!("process {}", self.pid),
                    source,
                })
            }
        }
    }

    async fn usage(&self) -> Result<Usage, BackendError> {
        if let Some(usage) = self.usage_at_end.get() {
            return Ok(*usage);
        }
        match self.lease.lock().await.as_ref() {
            Some(lease) => self.measure(lease),
            None => self.usage_at_end.get().copied().ok_or(BackendError::Stopped),
        }
    }

    async fn footprint(&self) -> Result<Option<Footprint>, BackendError> {
        let pid = self.pid;
        let read = tokio::task::spawn_blocking(move || footprint_of(pid)).await;
        let lost = |reason: &str| BackendError::Lost {
            reason: reason.to_owned(),
        };
        match read {
            Ok(Some(footprint)) => Ok(Some(footprint)),
            Ok(None) => Err(lost("the host does not say what memory its processes take")),
            Err(_) => Err(lost("the memory of its processes could not be read")),
        }
    }

    fn exec(&self) -> Option<&dyn Exec> {
        self.abilities.contains(&Ability::Exec).then_some(self as _)
    }

    fn files(&self) -> Option<&dyn Files> {
        self.abilities.contains(&Ability::Files).then_some(self as _)
    }
}

#[async_trait]
impl Exec for SlotInstance {
    async fn run(&self, request: ExecRequest, logs: LogSink) -> Result<ExitStatus, BackendError> {
        self.unless_stopped(self.client.exec(request, logs)).await
    }
}

#[async_trait]
impl Files for SlotInstance {
    async fn read(&self, path: &str, bytes_max: usize) -> Result<Bytes, BackendError> {
        self.unless_stopped(self.client.read_file(path, bytes_max)).await
    }

    async fn write(&self, path: &str, mode: u32, bytes: Bytes) -> Result<(), BackendError> {
        self.unless_stopped(self.client.write_file(path, mode, bytes))
            .await
    }
}
