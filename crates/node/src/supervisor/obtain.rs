//! Where a workload's instance comes from: loaded, blank, or started for it.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use tracing::Instrument as _;
use vulcan_api::{InstanceId, Runtime, StartKind};
use vulcan_backend::{Backend, BackendError, Disposition, Instance, InvokeMode, StartRequest, Upper};

use super::{
    run::{Attended, Supervisor},
    tenancy::Tenancy,
};
use crate::{
    host,
    lifecycle::Event,
    outcome::{chain, start_failure},
    pool::{
        Ask, BlankKind, Circumstances, Lease, Loaded, Patience, Pool, Ready, RootId, Seat, Size, Taken, Want,
    },
};

/// How often a start is tried in all, where the backend says that it may pass.
const START_ATTEMPTS_MAX: u32 = 4;
/// The pause before the second start; it doubles.
const START_PAUSE: Duration = Duration::from_millis(20);
/// How long a workload waits for an instance that is being started ahead, before one is started for it.
const COMING_WAIT: Duration = Duration::from_secs(1);

/// What came of asking for loaded code.
enum Borrowed {
    Lease(Lease),
    Seat(Seat),
    Nothing,
}

impl Supervisor {
    /// Has an instance, or says what happened instead.
    pub(super) async fn obtain(&mut self, backend: &Arc<dyn Backend>) -> Result<Tenancy, Event> {
        let runtime = self.program.as_ref().map(|program| program.runtime);
        let want = match runtime.filter(|_| self.node.pool.is_enabled()) {
            Some(runtime) => Want::of(backend.capabilities(), runtime, self.reuse),
            None => Want::Cold,
        };
        match want {
            Want::Cold => self.fresh(backend, None, None).await,
            Want::Blank(blank) => self.fresh(backend, Some(blank), None).await,
            Want::Loaded { mode, blank } => match self.borrow(mode).await? {
                Borrowed::Lease(lease) => Ok(Tenancy::lent(lease, mode, self.node.pool.run())),
                Borrowed::Seat(seat) => self.fresh(backend, blank, Some((seat, mode))).await,
                Borrowed::Nothing => self.fresh(backend, blank, None).await,
            },
        }
    }

    /// Has an instance that has loaded this code for this owner, or the right to load one.
    async fn borrow(&mut self, mode: InvokeMode) -> Result<Borrowed, Event> {
        let Some(program) = &self.program else {
            return Ok(Borrowed::Nothing);
        };
        let pool = Arc::clone(&self.node.pool);
        let circumstances = Circumstances {
            owner: &self.owner,
            isolation: self.kind.isolation,
            size: Size::of(&self.resources),
            network: self.network,
            mode,
            root: self.root_id(),
        };
        let key = pool.key(circumstances, program).await;
        let mut borrowed = Borrowed::Nothing;
        for patience in [Patience::Short, Patience::Full, Patience::None] {
            let ask = Ask {
                key,
                owner: &self.owner,
                kind: self.kind,
                mem_mb: self.resources.mem_mb,
                root: self.root_id(),
            };
            let (coming, wait) = match pool.lend(ask, patience) {
                Loaded::Wait(coming, wait) => (coming, wait),
                loaded => {
                    borrowed = settled(loaded);
                    break;
                }
            };
            match self.attend(timeout(wait, coming), None).await {
                Attended::Done(Ok(Ok(lease))) => {
                    borrowed = Borrowed::Lease(lease);
                    break;
                }
                Attended::Done(Ok(Err(_)) | Err(_)) | Attended::Deadline => {}
                Attended::Stop(reason) => return Err(Event::Stop(reason)),
            }
        }
        let start = match mode {
            InvokeMode::Forked => StartKind::Forked,
            InvokeMode::Once | InvokeMode::Beside | InvokeMode::Warm => StartKind::Warm,
        };
        pool.count(self.kind, start, matches!(borrowed, Borrowed::Lease(_)));
        Ok(borrowed)
    }

    /// Has an instance that never ran code: one that was started ahead for `blank`, or one that is started now.
    async fn fresh(
        &mut self,
        backend: &Arc<dyn Backend>,
        blank: Option<Runtime>,
        seat: Option<(Seat, InvokeMode)>,
    ) -> Result<Tenancy, Event> {
        let running = self.node.pool.run();
        if let Some(blank) = blank {
            let taken = self.take_blank(blank).await?;
            self.node
                .pool
                .count(self.kind, StartKind::Pooled, taken.is_some());
            if let Some(ready) = taken {
                self.note(backend, ready.id);
                return Ok(Tenancy::fresh(ready, StartKind::Pooled, seat, running));
            }
        }
        let id = InstanceId::generate(self.started_at, host::random());
        self.note(backend, id);
        let ready = match self.cold(backend, id).await {
            Ok(instance) => Ready {
                instance,
                id,
                usage: None,
            },
            Err(event) => {
                self.forget_note();
                return Err(event);
            }
        };
        Ok(Tenancy::fresh(ready, StartKind::Cold, seat, running))
    }

    fn root_id(&self) -> Option<RootId> {
        self.root.as_deref().map(RootId::of)
    }

    /// Takes a blank instance, or the next one that is ready where one is coming.
    async fn take_blank(&mut self, blank: Runtime) -> Result<Option<Ready>, Event> {
        let kind = BlankKind {
            isolation: self.kind.isolation,
            runtime: blank,
            size: Size::of(&self.resources),
            network: self.network,
            root: self.root_id(),
        };
        let coming = match self.node.pool.take(kind, self.root.as_ref()) {
            Taken::Ready(ready) => return Ok(Some(ready)),
            Taken::None => return Ok(None),
            Taken::Coming(coming) => coming,
        };
        match self.attend(timeout(COMING_WAIT, coming), None).await {
            Attended::Done(Ok(ready)) => Ok(ready.ok()),
            Attended::Done(Err(_)) | Attended::Deadline => Ok(None),
            Attended::Stop(reason) => Err(Event::Stop(reason)),
        }
    }

    async fn cold(&mut self, backend: &Arc<dyn Backend>, id: InstanceId) -> Result<Arc<dyn Instance>, Event> {
        let request = StartRequest {
            instance: id,
            resources: self.resources,
            network: self.network,
            prepare: None,
            root: self.root.clone(),
            upper: Upper::Memory,
        };
        let start = start_patiently(Arc::clone(backend), Arc::clone(&self.node.pool), request);
        match self.attend(start, None).await {
            Attended::Done(Ok(instance)) => Ok(instance),
            Attended::Done(Err(error)) => {
                if error.disposition() == Disposition::TryAnotherNode {
                    self.node.look.notify_one();
                }
                tracing::warn!(error = chain(&error), "instance could not be started");
                self.failure = Some(start_failure(&error));
                Err(Event::StartFailed)
            }
            Attended::Stop(reason) => Err(Event::Stop(reason)),
            Attended::Deadline => Err(Event::StartFailed),
        }
    }
}

/// Takes an answer that is no request to wait.
fn settled(loaded: Loaded) -> Borrowed {
    match loaded {
        Loaded::Lease(lease) => Borrowed::Lease(lease),
        Loaded::Seat(seat) => Borrowed::Seat(seat),
        Loaded::Wait(..) | Loaded::Full => Borrowed::Nothing,
    }
}

/// Starts an instance, again where the backend says that it may pass; where it has no more room, an idle instance makes some.
/// May be dropped at any time.
async fn start_patiently(
    backend: Arc<dyn Backend>,
    pool: Arc<Pool>,
    request: StartRequest,
) -> Result<Arc<dyn Instance>, BackendError> {
    let mut pause = START_PAUSE;
    let mut attempt = 1;
    loop {
        let span = tracing::info_span!("start", instance.id = %request.instance, attempt);
        let error = match backend.start(request.clone()).instrument(span).await {
            Ok(instance) => return Ok(instance),
            Err(error) => error,
        };
        if error.disposition() != Disposition::RetryHere || attempt == START_ATTEMPTS_MAX {
            return Err(error);
        }
        if matches!(error, BackendError::Exhausted { .. }) {
            pool.relieve(backend.capabilities().isolation);
        }
        tracing::debug!(error = chain(&error), attempt, "instance start is tried again");
        // Up to twice the pause, so that many that failed together do not come back together.
        let percent = u32::try_from(host::random() % 101).unwrap_or(0);
        tokio::time::sleep(pause + pause * percent / 100).await;
        pause *= 2;
        attempt += 1;
    }
}
