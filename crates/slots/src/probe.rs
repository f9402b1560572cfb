//! What a pool can do on this host, found by doing it.

use std::{error::Error as _, future::Future, time::Duration};

use tokio::{sync::Mutex, time::Instant};
use vulcan_api::Readiness;
use vulcan_backend::{BackendError, Instance as _, Probe};

use crate::{Pool, SlotInstance};

/// How long an answer is good for: a host changes seldom.
const FRESH_FOR: Duration = Duration::from_secs(30);

/// Remembers the last look at the host.
#[derive(Debug, Default)]
pub struct Prober {
    last: Mutex<Option<(Instant, Probe)>>,
}

impl Prober {
    /// Returns the last answer while it is fresh, and otherwise asks again. Callers wait for each other.
    pub async fn probe(&self, ask: impl Future<Output = Probe>) -> Probe {
        let mut last = self.last.lock().await;
        if let Some((at, probe)) = last.as_ref()
            && at.elapsed() < FRESH_FOR
        {
            return probe.clone();
        }
        let probe = ask.await;
        *last = Some((Instant::now(), probe.clone()));
        probe
    }
}

impl Pool {
    /// Judges a trial start, the only proof that it can be done, and stops it; says what is weaker than it could be.
    pub async fn judge(&self, started: Result<SlotInstance, BackendError>) -> Readiness {
        match stopped(started).await {
            Err(error) => Readiness::Unfit {
                reasons: vec![unfit_reason(&error)],
            },
            Ok(landlock_abi) => match self.weaknesses(landlock_abi) {
                reasons if reasons.is_empty() => Readiness::Ready,
                reasons => Readiness::Degraded { reasons },
            },
        }
    }

    fn weaknesses(&self, landlock_abi: i32) -> Vec<String> {
        let mut reasons = self.tree().missing().to_vec();
        let mut add = |reason: &str| reasons.push(reason.to_owned());
        if landlock_abi == 0 {
            add("the kernel has no Landlock: the mount namespace alone decides about files");
        }
        if !rustix::process::geteuid().is_root() {
            add(
                "the server does not run as root: instances share its user id, which their user namespaces hide",
            );
        }
        if !self.tree().limits_memory() {
            add(
                "memory is limited per process (RLIMIT_DATA) and not per instance, for want of a memory cgroup",
            );
        }
        reasons
    }
}

async fn stopped(started: Result<SlotInstance, BackendError>) -> Result<i32, BackendError> {
    let instance = started?;
    let abi = instance.landlock_abi().await;
    instance.stop(Duration::ZERO).await?;
    Ok(abi)
}

fn unfit_reason(error: &BackendError) -> String {
    if let BackendError::Unfit { reason, .. } = error {
        return reason.clone();
    }
    format!(
        "a trial start failed: {}; the class needs user namespaces (sysctl user.max_user_namespaces above 0, and \
         kernel.apparmor_restrict_unprivileged_userns=0 for an ordinary user) and Linux 5.12 or newer",
        with_cause(error)
    )
}

/// Returns an error and its cause in one line.
fn with_cause(error: &BackendError) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
