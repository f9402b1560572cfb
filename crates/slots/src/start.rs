//! One start: from a request to an instance that listens.

use std::{any::Any, os::unix::net::UnixStream as StdUnixStream, sync::Arc};

use tokio::net::UnixStream;
use vulcan_api::{Resources, Runtime};
use vulcan_backend::{Ability, BackendError, GuestClient};
use vulcan_host::launcher::Program;

use crate::{LastWords, Pool, SlotInstance, instance::Parts, pool::start_failed};

/// What is started in a slot.
#[derive(Debug)]
pub struct Guest<'a> {
    /// What the launcher executes; it speaks the guest protocol.
    pub program: Program<'a>,
    /// What instances are able to do beside running code.
    pub abilities: &'static [Ability],
    /// The runtime to be started already; `None` where the guest starts none ahead, or does so by itself.
    pub prepare: Option<Runtime>,
    /// What the guest says to nobody before it dies; `None` for a guest that outlives its programs.
    pub last_words: Option<LastWords>,
    /// Whether programs can be asked to end before they are made to.
    pub hears_signals: bool,
    /// What whoever starts the guest says when it cannot: a runtime's standard error.
    pub complaints: Option<LastWords>,
    /// What the instance needs until nothing of it is left.
    pub holds: Option<Box<dyn Any + Send + Sync>>,
}

impl Pool {
    /// Starts an instance, within the deadline of the options.
    ///
    /// After an error, and when the future is dropped, nothing of the instance is left.
    ///
    /// # Errors
    ///
    /// [`BackendError::Exhausted`], [`BackendError::StartFailed`], [`BackendError::Deadline`], and those of the handshake.
    pub async fn start(
        self: &Arc<Self>,
        resources: Resources,
        guest: Guest<'_>,
    ) -> Result<SlotInstance, BackendError> {
        let limit = self.options().start_deadline;
        tokio::time::timeout(limit, self.start_instance(resources, guest))
            .await
            .map_err(|_| BackendError::Deadline {
                step: "starting an instance",
                limit,
            })?
    }

    async fn start_instance(
        self: &Arc<Self>,
        resources: Resources,
        guest: Guest<'_>,
    ) -> Result<SlotInstance, BackendError> {
        let failed = |step: &str, source| BackendError::StartFailed {
            step: step.to_owned(),
            source: Some(source),
        };
        let mut lease = self.lease().await?;
        lease.holds = guest.holds;
        lease
            .begin(&self.options().limits_at_start(&resources))
            .map_err(|error| failed("set the cgroup's limits", error))?;
        let (ours, theirs) = stream_pair().map_err(|error| failed("make the stream to the guest", error))?;
        let launch = self.options().launch(&resources, self.tree().limits_memory());
        let deadline = self.options().start_deadline;
        // The host's half of the handshake waits in the socket while the guest starts.
        let launching = async {
            lease
                .launch(launch, guest.program, theirs.into())
                .await
                .map_err(start_failed)
        };
        let (launched, client) = tokio::join!(launching, GuestClient::connect(ours, deadline));
        // Both end when one fails, and the launcher is the one that knows why.
        let launched = launched?;
        let words = guest.last_words.as_ref().or(guest.complaints.as_ref());
        let client = client.map_err(|error| match words {
            Some(words) => words.explain(error),
            None => error,
        })?;
        if self.options().has_limits_at_start() {
            lease
                .begin(&self.options().limits(&resources))
                .map_err(|error| failed("tighten the cgroup's limits", error))?;
        }
        if let Some(runtime) = guest.prepare {
            client.prepare(runtime, deadline).await?;
        }
        SlotInstance::new(Parts {
            client,
            launched,
            lease,
            resources,
            abilities: guest.abilities,
            last_words: guest.last_words,
            hears_signals: guest.hears_signals,
        })
        .map_err(|error| failed("watch the instance", error))
    }
}

/// Makes the two ends of a stream: ours, and the guest's, which blocks.
fn stream_pair() -> std::io::Result<(UnixStream, StdUnixStream)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs))
}
