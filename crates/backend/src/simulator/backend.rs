//! The simulated backend.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use vulcan_api::{InstanceId, IsolationClass, Readiness, Runtime, RuntimeInfo};

use super::{
    faults::{Fault, Hold, Step},
    instance::{Inner, SimulatedInstance},
};
use crate::{
    Ability, Backend, BackendError, Capabilities, Exited, Instance, Probe, Readying, RootForm, StartRequest,
    Swept,
};

/// What a simulator can do ahead, unless a test says otherwise: as the sandbox does.
const READYING: [Readying; 3] = [
    Readying {
        runtime: Runtime::Python,
        blank: Some(Runtime::Python),
        warm: true,
        forked: true,
    },
    Readying {
        runtime: Runtime::Node,
        blank: Some(Runtime::Node),
        warm: true,
        forked: false,
    },
    Readying {
        runtime: Runtime::Typescript,
        blank: Some(Runtime::Node),
        warm: true,
        forked: false,
    },
];

/// A backend whose instances are tasks of this process; see the module for their language.
///
/// Clones are the same backend.
#[derive(Clone)]
pub struct Simulator {
    capabilities: Capabilities,
    shared: Arc<Shared>,
}

/// What a simulator shares with its instances.
pub(super) struct Shared {
    pub(super) start: Arc<Fault>,
    pub(super) invoke: Arc<Fault>,
    pub(super) stop: Arc<Fault>,
    pub(super) live: AtomicUsize,
    started: AtomicUsize,
    started_blank: AtomicUsize,
    /// Instances that may still live.
    instances: Mutex<Vec<Weak<Inner>>>,
    readiness: Mutex<Readiness>,
    leaving_behind: AtomicBool,
    left_behind: Mutex<BTreeMap<InstanceId, Arc<Inner>>>,
}

impl Shared {
    /// Keeps an instance whose owner is gone, if that is what the simulator does now.
    pub(super) fn leave_behind(&self, inner: &Arc<Inner>) -> bool {
        let leaves = self.leaving_behind.load(Ordering::SeqCst);
        if leaves {
            locked(&self.left_behind).insert(inner.id(), Arc::clone(inner));
        }
        leaves
    }
}

impl Simulator {
    /// Makes a simulator that takes the part of the `sandbox` class.
    #[must_use]
    pub fn new() -> Self {
        Self::with_class(IsolationClass::Sandbox)
    }

    /// Makes a simulator that takes the part of a class.
    #[must_use]
    pub fn with_class(isolation: IsolationClass) -> Self {
        Self {
            capabilities: Capabilities {
                readying: READYING.to_vec(),
                root: RootForm::Own,
                outlives_server: false,
                isolation,
                abilities: vec![Ability::Exec, Ability::Files],
            },
            shared: Arc::new(Shared {
                start: Arc::new(Fault::new()),
                invoke: Arc::new(Fault::new()),
                stop: Arc::new(Fault::new()),
                live: AtomicUsize::new(0),
                started: AtomicUsize::new(0),
                started_blank: AtomicUsize::new(0),
                instances: Mutex::default(),
                readiness: Mutex::new(Readiness::Ready),
                leaving_behind: AtomicBool::new(false),
                left_behind: Mutex::default(),
            }),
        }
    }

    fn refuse_to_prepare(&self, runtime: Runtime) -> Result<(), BackendError> {
        let mut blanks = self
            .capabilities
            .readying
            .iter()
            .filter_map(|readying| readying.blank);
        if blanks.any(|blank| blank == runtime) {
            return Ok(());
        }
        Err(BackendError::RuntimeUnavailable {
            runtime,
            reason: "the simulator starts no interpreter of it ahead".to_owned(),
        })
    }

    fn fault(&self, step: Step) -> &Arc<Fault> {
        match step {
            Step::Start => &self.shared.start,
            Step::Invoke => &self.shared.invoke,
            Step::Stop => &self.shared.stop,
        }
    }

    /// Makes the next call of a step fail; several calls of this queue up.
    pub fn fail_next(&self, step: Step, failure: impl FnOnce() -> BackendError + Send + 'static) {
        self.fault(step).push(Box::new(failure));
    }

    /// Freezes a step until the returned value is dropped.
    pub fn hold(&self, step: Step) -> Hold {
        Hold::new(Arc::clone(self.fault(step)))
    }

    /// Changes what [`Backend::probe`] says.
    pub fn set_readiness(&self, readiness: Readiness) {
        *locked(&self.shared.readiness) = readiness;
    }

    /// From now on a dropped instance goes on living, as it would when its process were killed: for adopting and sweeping.
    pub fn leave_behind(&self, leave_behind: bool) {
        self.shared.leaving_behind.store(leave_behind, Ordering::SeqCst);
    }

    /// Returns how many instances exist that are not stopped.
    #[must_use]
    pub fn live(&self) -> usize {
        self.shared.live.load(Ordering::SeqCst)
    }

    /// Returns how many instances were ever started.
    #[must_use]
    pub fn started(&self) -> usize {
        self.shared.started.load(Ordering::SeqCst)
    }

    /// Returns how many of them were blank: started with an interpreter ([`StartRequest::prepare`]).
    #[must_use]
    pub fn started_blank(&self) -> usize {
        self.shared.started_blank.load(Ordering::SeqCst)
    }

    /// Changes what can be done ahead of a workload; call it before the backend is shared.
    #[must_use]
    pub fn with_readying(mut self, readying: Vec<Readying>) -> Self {
        self.capabilities.readying = readying;
        self
    }

    /// Says that instances outlive the server, as those of a virtual machine do; call it before the backend is shared.
    #[must_use]
    pub const fn outliving(mut self) -> Self {
        self.capabilities.outlives_server = true;
        self
    }

    /// Makes it a class that stands on images; call it before the backend is shared.
    #[must_use]
    pub const fn on_layers(mut self) -> Self {
        self.capabilities.root = RootForm::Layers;
        self
    }

    /// Refuses a start without a root where one is needed, and with one where none is.
    fn refuse_wrong_root(&self, request: &StartRequest) -> Result<(), BackendError> {
        let is_needed = self.capabilities.root == RootForm::Layers;
        if request.root.is_some() == is_needed {
            return Ok(());
        }
        Err(BackendError::StartFailed {
            step: format!("find a root in the request: needed is {is_needed}"),
            source: None,
        })
    }

    /// Ends every instance that lives, as a crash would: calls that run are lost, idle ones are over.
    pub fn crash_all(&self) {
        for inner in locked(&self.shared.instances).drain(..) {
            if let Some(inner) = inner.upgrade() {
                inner.over(Exited::ByItself);
            }
        }
    }
}

impl Default for Simulator {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Backend for Simulator {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn probe(&self) -> Probe {
        let runtimes = Runtime::ALL.into_iter().map(|runtime| RuntimeInfo {
            runtime,
            available: true,
            detail: "simulated".to_owned(),
            packages: Vec::new(),
        });
        Probe {
            readiness: locked(&self.shared.readiness).clone(),
            runtimes: runtimes.collect(),
        }
    }

    async fn start(&self, request: StartRequest) -> Result<Arc<dyn Instance>, BackendError> {
        request.refuse_open_network(self.capabilities.isolation)?;
        self.refuse_wrong_root(&request)?;
        self.shared.start.pass().await?;
        if let Some(runtime) = request.prepare {
            self.refuse_to_prepare(runtime)?;
            self.shared.started_blank.fetch_add(1, Ordering::SeqCst);
        }
        self.shared.started.fetch_add(1, Ordering::SeqCst);
        let inner = Inner::new(Arc::clone(&self.shared), &request);
        let mut instances = locked(&self.shared.instances);
        instances.retain(|instance| instance.strong_count() > 0);
        instances.push(Arc::downgrade(&inner));
        drop(instances);
        Ok(Arc::new(SimulatedInstance(inner)))
    }

    async fn adopt(&self, id: &InstanceId) -> Result<Option<Arc<dyn Instance>>, BackendError> {
        let inner = locked(&self.shared.left_behind).remove(id);
        Ok(inner.map(|inner| Arc::new(SimulatedInstance(inner)) as Arc<dyn Instance>))
    }

    async fn sweep(&self, keep: &[InstanceId]) -> Result<Swept, BackendError> {
        let gone: Vec<Arc<Inner>> = {
            let mut left = locked(&self.shared.left_behind);
            let ids: Vec<InstanceId> = left.keys().filter(|id| !keep.contains(id)).copied().collect();
            ids.iter().filter_map(|id| left.remove(id)).collect()
        };
        let mut swept = Swept::default();
        for inner in gone {
            inner.end().await;
            swept.instances += 1;
            swept.removed.push(format!("simulated instance {}", inner.id()));
        }
        Ok(swept)
    }

    async fn close(&self) {}
}

/// Locks data that no panic can leave half changed.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
