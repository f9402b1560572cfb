//! What the sandbox can do on this host.

use std::{error::Error as _, time::Duration};

use tokio::{sync::Mutex, time::Instant};
use vulcan_api::{Readiness, RuntimeInfo};
use vulcan_backend::{BackendError, Probe};

use crate::{Sandbox, runtimes};

/// How long an answer is good for: a host changes seldom.
const FRESH_FOR: Duration = Duration::from_secs(30);

/// Remembers the last look at the host.
#[derive(Debug, Default)]
pub(crate) struct Prober {
    last: Mutex<Option<(Instant, Probe)>>,
}

impl Prober {
    pub(crate) async fn probe(&self, sandbox: &Sandbox) -> Probe {
        let mut last = self.last.lock().await;
        if let Some((at, probe)) = last.as_ref()
            && at.elapsed() < FRESH_FOR
        {
            return probe.clone();
        }
        let (readiness, runtimes) = tokio::join!(readiness(sandbox), runtimes());
        let probe = Probe { readiness, runtimes };
        *last = Some((Instant::now(), probe.clone()));
        probe
    }
}

async fn runtimes() -> Vec<RuntimeInfo> {
    // Each asks an interpreter for its version.
    tokio::task::spawn_blocking(runtimes::detect)
        .await
        .unwrap_or_default()
}

async fn readiness(sandbox: &Sandbox) -> Readiness {
    match sandbox.try_out().await {
        Err(error) => Readiness::Unfit {
            reasons: vec![unfit_reason(&error)],
        },
        Ok(landlock_abi) => {
            let mut reasons = sandbox.tree().missing().to_vec();
            if landlock_abi == 0 {
                reasons.push(
                    "the kernel has no Landlock: the mount namespace alone decides about files".to_owned(),
                );
            }
            if !rustix::process::geteuid().is_root() {
                reasons.push(
                    "the server does not run as root: instances share its user id, which their user namespaces hide"
                        .to_owned(),
                );
            }
            if !sandbox.tree().limits_memory() {
                reasons.push(
                    "memory is limited per process (RLIMIT_DATA) and not per instance, for want of a memory cgroup"
                        .to_owned(),
                );
            }
            if reasons.is_empty() {
                Readiness::Ready
            } else {
                Readiness::Degraded { reasons }
            }
        }
    }
}

fn unfit_reason(error: &BackendError) -> String {
    let mut text = error.to_string();
    if let Some(source) = error.source() {
        text = format!("{text}: {source}");
    }
    format!(
        "a trial start failed: {text}; the class needs user namespaces (sysctl user.max_user_namespaces above 0, and \
         kernel.apparmor_restrict_unprivileged_userns=0 for an ordinary user) and Linux 5.12 or newer"
    )
}
