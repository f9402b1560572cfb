//! Starting, draining and closing a control plane.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use vulcan_bus::{Command, ControlEnd};

use crate::{
    benchmark::{self, Desk},
    budget::Budget,
    driver::{Driver, Message, Recovery, Shared},
    metrics::{Metrics, RECENT_MAX, SharedRegistry},
    options::{Error, Options},
    store::{OpenOptions, Store},
    sweeper,
};

/// The database's name in the data directory.
pub const DATABASE_FILE: &str = "control.db";
/// How many submissions wait for the driver.
const INBOX_LEN: usize = 1_024;
/// How many requests with archives or large bodies are checked at once: each may hold a multiple of its body.
const CHECKS_MAX: usize = 4;

/// What the rooms `http` and `app` work with.
pub(crate) struct Service {
    pub(crate) options: Options,
    pub(crate) shared: Shared,
    pub(crate) driver: mpsc::Sender<Message>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) registry: SharedRegistry,
    pub(crate) started_at: Instant,
    pub(crate) is_draining: AtomicBool,
    pub(crate) checks: Semaphore,
    pub(crate) budget: Budget,
    pub(crate) benchmarks: Desk,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Service {
    /// Returns random bits for an id.
    pub(crate) fn random(&self) -> u128 {
        let mut bytes = [0_u8; 16];
        match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
            Ok(16) => u128::from_ne_bytes(bytes),
            // getrandom(2) gives up to 256 bytes whole, and cannot fail once the system is up.
            Ok(_) | Err(_) => {
                unreachable!("the kernel's random source is initialised before any service runs")
            }
        }
    }
}

/// A running control plane. Cheap to clone; dropping it stops nothing: see [`Handle::close`].
#[derive(Clone)]
pub struct Handle {
    pub(crate) service: Arc<Service>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("data_dir", &self.service.options.data_dir)
            .finish_non_exhaustive()
    }
}

/// Starts a control plane: opens its records, takes over what a former run left unfinished, and listens to the bus.
///
/// Metrics are registered in `registry`, which `/metrics` encodes. Serve [`crate::router`] to reach it.
///
/// # Errors
///
/// [`Error::Store`] when the database cannot be opened or read; nothing runs then.
pub async fn start(options: Options, bus: ControlEnd, registry: SharedRegistry) -> Result<Handle, Error> {
    let tasks = TaskTracker::new();
    let stop = CancellationToken::new();
    let open = OpenOptions {
        bytes_max: options.database_bytes_max,
    };
    let store = Store::open(&options.data_dir.join(DATABASE_FILE), open, &tasks, stop.clone()).await?;
    let metrics = Arc::new(Metrics::new(&registry));
    let recent = u32::try_from(RECENT_MAX).unwrap_or(u32::MAX);
    for (start_ms, run_ms) in store.duration_list(recent).await?.into_iter().rev() {
        metrics.remember(start_ms, run_ms);
    }
    let unfinished = store.workload_list_unfinished().await?;
    let shared = Shared {
        store,
        board: Arc::default(),
        inventory: watch::channel(Arc::default()).0,
        unfinished: watch::channel(0).0,
        recovery: watch::channel(None).0,
        clock: Arc::clone(&options.clock),
        metrics,
    };
    benchmark::end_former(&shared).await?;
    let commands = bus.commands.clone();
    let caps = (options.output_bytes_max, options.log_bytes_max);
    let mut driver = Driver::new(shared.clone(), bus, options.queue_len_max, caps);
    driver.restore(unfinished);
    let (inbox, messages) = mpsc::channel(INBOX_LEN);
    tasks.spawn(driver.run(messages, stop.clone()));
    tasks.spawn(sweeper::run(
        shared.clone(),
        options.clone(),
        commands.clone(),
        stop.clone(),
    ));
    let service = Service {
        budget: Budget::new(options.held_bytes_max),
        benchmarks: Desk::default(),
        options,
        shared,
        driver: inbox,
        commands,
        registry,
        started_at: Instant::now(),
        is_draining: AtomicBool::new(false),
        checks: Semaphore::new(CHECKS_MAX),
        tasks,
        stop,
    };
    Ok(Handle {
        service: Arc::new(service),
    })
}

impl Handle {
    /// Waits until it is known what became of the workloads that a former run left unfinished: at once where there were
    /// none to ask the node about, otherwise until the node's first status, or for half a minute. Cancel-safe.
    pub async fn recovery(&self) -> Recovery {
        let mut recovery = self.service.shared.recovery.subscribe();
        match recovery.wait_for(Option::is_some).await {
            Ok(known) => known.unwrap_or_default(),
            Err(_) => Recovery::default(),
        }
    }

    /// Takes no new workloads from now on; what is unfinished goes on. May be repeated.
    pub fn drain(&self) {
        self.service.is_draining.store(true, Ordering::Relaxed);
    }

    /// Waits until nothing is unfinished. Cancel-safe.
    pub async fn idle(&self) {
        let mut unfinished = self.service.shared.unfinished.subscribe();
        drop(unfinished.wait_for(|count| *count == 0).await);
    }

    /// Returns how many workloads are unfinished.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        *self.service.shared.unfinished.borrow()
    }

    /// Drains, and stops everything that runs. What is in the queue and survives a restart stays for the next start.
    /// [`Handle::idle`] waits for the ends.
    pub async fn abort(&self) {
        self.drain();
        // A driver that is gone has nothing to stop.
        drop(self.service.driver.send(Message::Abort).await);
    }

    /// Stops the tasks of the control plane, and waits for them until `limit`. Unfinished workloads are left to the next
    /// start. Long-lived answers (logs) end. Returns whether everything ended in time.
    pub async fn close(&self, limit: Duration) -> bool {
        self.drain();
        self.service.stop.cancel();
        self.service.shared.store.close().await;
        self.service.tasks.close();
        tokio::time::timeout(limit, self.service.tasks.wait())
            .await
            .is_ok()
    }

    /// Encodes all registered metrics in the Prometheus text format.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        let mut text = String::new();
        let registry = self
            .service
            .registry
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Writing into a string does not fail; a metric that refuses shows up as a truncated page.
        if let Err(error) = prometheus_client::encoding::text::encode(&mut text, &registry) {
            tracing::error!(error = %error, "metrics could not be encoded");
        }
        text
    }
}

/// Makes a registry to share between control plane and node.
#[must_use]
pub fn new_registry() -> SharedRegistry {
    Arc::new(Mutex::new(prometheus_client::registry::Registry::default()))
}
