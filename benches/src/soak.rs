//! Many workloads of which a quarter ends badly.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use tokio::task::JoinSet;
use vulcan_api::{Status, Workload};
use vulcan_client::{Client, RunOptions};

use crate::{
    context::{Context as _, Failure},
    programs::Programs,
};

/// How long one workload may take, with everything.
const LIMIT: Duration = Duration::from_secs(60);
/// Seconds after which a program that spins is ended.
const TIMEOUT_S: f64 = 0.05;

/// How a workload of the soak is meant to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Completed,
    Killed,
    TimedOut,
    OutOfMemory,
}

/// Of twelve, nine end well.
const CYCLE: [Ending; 12] = [
    Ending::Completed,
    Ending::Completed,
    Ending::Completed,
    Ending::Killed,
    Ending::Completed,
    Ending::Completed,
    Ending::Completed,
    Ending::TimedOut,
    Ending::Completed,
    Ending::Completed,
    Ending::Completed,
    Ending::OutOfMemory,
];

/// What the soak came to.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Soak {
    /// Workloads that completed as they were meant to.
    pub(crate) completed: usize,
    /// Killed while they ran, as they were meant to be.
    pub(crate) killed: usize,
    /// Ended at their limit, as they were meant to be.
    pub(crate) timed_out: usize,
    /// Failed for want of memory, as they were meant to.
    pub(crate) out_of_memory: usize,
    /// Ended in another way than meant.
    pub(crate) wrong: usize,
    /// The first of these, in words.
    pub(crate) first_wrong: Option<String>,
}

/// Runs `count` workloads with `clients` at once.
///
/// # Errors
///
/// When a client task dies; everything else is counted.
pub(crate) async fn run(
    client: &Client,
    programs: &Arc<Programs>,
    count: usize,
    clients: usize,
) -> Result<Soak, Failure> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (client, programs, next) = (client.clone(), Arc::clone(programs), Arc::clone(&next));
        tasks.spawn(async move {
            let mut soak = Soak::default();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    return soak;
                }
                let ending = CYCLE[index % CYCLE.len()];
                soak.count(ending, run_one(&client, &programs, ending).await);
            }
        });
    }
    let mut all = Soak::default();
    while let Some(soak) = tasks.join_next().await {
        all.add(soak.doing("join a client")?);
    }
    Ok(all)
}

async fn run_one(client: &Client, programs: &Programs, ending: Ending) -> Result<Workload, Failure> {
    let spec = match ending {
        Ending::Completed => programs.noop_spec(),
        Ending::Killed => return kill_one(client, programs).await,
        Ending::TimedOut => programs.spin_spec(TIMEOUT_S),
        Ending::OutOfMemory => programs.eat_spec(),
    };
    client
        .run(&spec, &RunOptions::default())
        .await
        .doing("run a workload")
}

async fn kill_one(client: &Client, programs: &Programs) -> Result<Workload, Failure> {
    let spec = programs.spin_spec(LIMIT.as_secs_f64());
    let id = client
        .run_async(&spec, &RunOptions::default())
        .await
        .doing("submit a workload")?
        .id;
    // Every other one is killed in the middle of its start.
    let wait = Duration::from_millis(id.to_string().bytes().map(u64::from).sum::<u64>() % 20);
    tokio::time::sleep(wait).await;
    client.kill(id).await.doing("kill a workload")?;
    client.wait(id, LIMIT).await.doing("wait for a killed workload")
}

impl Soak {
    fn count(&mut self, ending: Ending, result: Result<Workload, Failure>) {
        let counter = match (ending, result) {
            (Ending::Completed, Ok(workload)) if workload.status == Status::Completed => &mut self.completed,
            (Ending::Killed, Ok(workload)) if workload.status == Status::Killed => &mut self.killed,
            (Ending::TimedOut, Ok(workload)) if workload.status == Status::TimedOut => &mut self.timed_out,
            (Ending::OutOfMemory, Ok(workload)) if workload.status == Status::Failed => {
                &mut self.out_of_memory
            }
            (ending, result) => {
                self.first_wrong.get_or_insert_with(|| describe(ending, result));
                &mut self.wrong
            }
        };
        *counter += 1;
    }

    fn add(&mut self, other: Self) {
        self.completed += other.completed;
        self.killed += other.killed;
        self.timed_out += other.timed_out;
        self.out_of_memory += other.out_of_memory;
        self.wrong += other.wrong;
        self.first_wrong = self.first_wrong.take().or(other.first_wrong);
    }
}

fn describe(ending: Ending, result: Result<Workload, Failure>) -> String {
    match result {
        Ok(workload) => format!("meant {ending:?}, got {} {:?}", workload.status, workload.error),
        Err(error) => format!("meant {ending:?}, {error}"),
    }
}
