//! Starting a node, and what it does with each command.

use std::{collections::HashMap, fs, os::unix::fs::DirBuilderExt, path::Path, sync::Arc};

use tokio::sync::{Notify, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;
use vulcan_api::{BackendInfo, IsolationClass};
use vulcan_backend::{Backend, RootForm};
use vulcan_bus::{Assignment, Command, NodeEnd, WorkloadReport, WorkloadState};

use crate::{
    Error, Handle, Options, Recovery,
    bare::Bare,
    compile::Compiler,
    image::{self, Images},
    images,
    lock::Lock,
    logs::Logs,
    measure::measure,
    node::Node,
    outbox::Outbox,
    pool::{Memory, Pool, Setup},
    recovery::recover,
    status,
    store::{Database, Store},
    supervisor::Supervisor,
};

/// Starts a node at its end of the bus.
///
/// Takes the data directory, ends and sweeps what a former process left, looks at the backends, and begins to report. When
/// the other end of the bus is dropped, no more workloads come; what runs goes on.
///
/// # Errors
///
/// - [`Error::Owned`] when another process works with the data directory.
/// - [`Error::Directory`] when a folder cannot be made or locked.
/// - [`Error::Database`] when the node's database cannot be opened.
pub async fn start(options: Options, end: NodeEnd) -> Result<Handle, Error> {
    make_directory(&options.data_dir)?;
    make_directory(&options.cache_dir)?;
    let lock = Lock::take(&options.data_dir)?;
    let mut database = Database::open(&options.data_dir.join("node.db")).await?;
    let backends: HashMap<IsolationClass, Arc<dyn Backend>> = options
        .backends
        .iter()
        .map(|backend| (backend.capabilities().isolation, Arc::clone(backend)))
        .collect();
    let mut recovery = recover(&mut database, &backends).await;
    let stored = database.outbox_keys().await.unwrap_or_else(|error| {
        recovery
            .problems
            .push(format!("unacknowledged ends could not be read: {error}"));
        Vec::new()
    });
    recovery.unacknowledged = stored.len();
    tell(&recovery);

    let writer = TaskTracker::new();
    let store = Store::start(database, &writer);
    let outbox = Outbox::new(end.reports, store.clone(), options.intervals, stored);
    let images = open_images(&options)?;
    let pool = Pool::new(Setup {
        limits: options.pools.clone(),
        backends: backends.clone(),
        clock: Arc::clone(&options.clock),
        metrics: options.metrics.clone(),
        stop: options.intervals.stop,
        memory: Box::new(Memory::read),
    });
    let node = Arc::new(Node {
        pool,
        started_at: options.clock.now(),
        logs: Logs::new(options.data_dir.join("logs"), Arc::clone(&options.clock)),
        compiler: Compiler::new(&options),
        images,
        bare: Bare::new(&options),
        name: options.name,
        clock: options.clock,
        backends,
        capacity: options.capacity,
        metrics: options.metrics,
        intervals: options.intervals,
        store,
        outbox,
        supervisors: TaskTracker::new(),
        background: TaskTracker::new(),
        closing: CancellationToken::new(),
        drain_began: CancellationToken::new(),
        look: Notify::new(),
        told: watch::Sender::new(()),
        work: std::sync::Mutex::default(),
    });
    let seen = status::look(&node).await;
    node.pool.offered(&seen, &node.default_roots().await);
    run(&node, end.commands, seen);
    Ok(Handle {
        recovery,
        closing: node.closing.clone().drop_guard(),
        node,
        writer,
        lock,
    })
}

/// Opens the image store; steps of builds run in the strongest class that stands on layers.
fn open_images(options: &Options) -> Result<Arc<Images>, Error> {
    let mut builders: Vec<Arc<dyn Backend>> = options
        .backends
        .iter()
        .filter(|backend| backend.capabilities().root == RootForm::Layers)
        .map(Arc::clone)
        .collect();
    builders.sort_by_key(|backend| backend.capabilities().isolation.strength());
    let folder = options.data_dir.join("images");
    make_directory(&folder)?;
    Images::open(image::Setup {
        folder: folder.clone(),
        options: options.images.clone(),
        node: options.name.clone(),
        clock: Arc::clone(&options.clock),
        builders,
    })
    .map_err(|source| Error::Directory {
        action: "read",
        path: folder,
        source,
    })
}

fn make_directory(path: &Path) -> Result<(), Error> {
    // Logs and executables belong to users of the platform, not to those of the machine.
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| Error::Directory {
        action: "create",
        path: path.to_owned(),
        source,
    })
}

fn tell(recovery: &Recovery) {
    for line in recovery.lines() {
        tracing::info!(what = line, "former process cleaned up");
    }
}

/// Starts the tasks that live as long as the node.
fn run(node: &Arc<Node>, commands: mpsc::Receiver<Command>, seen: Vec<BackendInfo>) {
    let closing = &node.closing;
    let tending = Arc::clone(node);
    node.background.spawn(
        closing
            .clone()
            .run_until_cancelled_owned(async move { tending.outbox.tend().await }),
    );
    node.background.spawn(tend_pool(Arc::clone(node)));
    node.background.spawn(
        closing
            .clone()
            .run_until_cancelled_owned(status::report(Arc::clone(node), seen)),
    );
    node.background.spawn(
        closing
            .clone()
            .run_until_cancelled_owned(obey(Arc::clone(node), commands)),
    );
}

/// Keeps instances ready until the node drains or closes; nothing of the pools is left then.
async fn tend_pool(node: Arc<Node>) {
    if !node.pool.is_enabled() {
        return;
    }
    // All of them may be dropped: what tending began is on tasks of its own.
    tokio::select! {
        () = Arc::clone(&node.pool).tend() => {}
        () = node.drain_began.cancelled() => {}
        () = node.closing.cancelled() => {}
    }
    node.pool.close();
    node.pool.closed().await;
}

/// Carries out commands one after the other; none of them makes the next one wait.
async fn obey(node: Arc<Node>, mut commands: mpsc::Receiver<Command>) {
    while let Some(command) = commands.recv().await {
        match command {
            Command::Assign(assignment) => assign(&node, *assignment),
            Command::Stop { workload, reason } => {
                if !node.stop(&workload, reason) {
                    // It may be over, and its end not have been heard.
                    node.outbox.repeat(&workload);
                }
            }
            Command::Acknowledge { workload, generation } => node.outbox.acknowledge(workload, generation),
            Command::ReadLog(request) => {
                let logs = Arc::clone(&node.logs);
                node.background
                    .spawn(node.closing.clone().run_until_cancelled_owned(logs.read(request)));
            }
            Command::Forget { workloads } => {
                let logs = Arc::clone(&node.logs);
                node.background.spawn_blocking(move || logs.forget(&workloads));
            }
            Command::Image(what) => {
                let obeying = images::obey(Arc::clone(&node), what);
                node.background
                    .spawn(node.closing.clone().run_until_cancelled_owned(obeying));
            }
            Command::Measure(what) => {
                let measuring = measure(Arc::clone(&node), what);
                node.background
                    .spawn(node.closing.clone().run_until_cancelled_owned(measuring));
            }
        }
    }
}

fn assign(node: &Arc<Node>, assignment: Assignment) {
    let (workload, generation) = (assignment.workload, assignment.generation);
    let ended = node.outbox.generation(&workload);
    if ended.is_some_and(|known| known >= generation) {
        node.outbox.repeat(&workload);
        return;
    }
    let admitted = match node.generation(&workload) {
        Some(known) if known >= generation => return,
        // Two at once would write one log: the old one ends first.
        Some(_) => {
            node.stop(&workload, vulcan_bus::StopReason::Shutdown);
            Err("its former assignment is being ended".to_owned())
        }
        None => node.admit(workload, generation, &assignment.resources),
    };
    match admitted {
        Ok((share, stop)) => {
            if let Some(former) = ended {
                node.outbox.acknowledge(workload, former);
            }
            let span = tracing::info_span!("assignment", workload.id = %workload, generation);
            let supervisor = Supervisor::new(Arc::clone(node), assignment, share, stop);
            node.supervisors.spawn(supervisor.run().instrument(span));
        }
        Err(reason) => node.outbox.tell(WorkloadReport {
            workload,
            generation,
            state: WorkloadState::Rejected { reason },
        }),
    }
}
