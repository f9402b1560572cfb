//! The task that measures: step by step, with the record on disk after each.

use std::{collections::BTreeMap, sync::Arc};

use vulcan_api::{
    BackendInfo, Benchmark, BenchmarkEnvironment, BenchmarkStart, BenchmarkStatus, BenchmarkWork,
    IsolationClass, NodeInfo, Runtime, StartKind,
};

use super::{
    caller::{Caller, Interrupted},
    floors::{self, Floors},
    memory,
    plan::{Step, plan},
    rates, starts,
};
use crate::{causes::chain, store::Write};

/// Classes and ways to start that were seen not to be offered, with what was said then.
type NotOffered = Vec<(IsolationClass, StartKind, String)>;

/// Measures everything that was asked for, and ends the record. Dropping it leaves the record as it is then.
pub(super) async fn run(caller: &Arc<Caller>) {
    let (status, error) = match measure(caller).await {
        Ok(()) => (BenchmarkStatus::Completed, None),
        Err(interrupted) => (BenchmarkStatus::Failed, Some(interrupted.to_string())),
    };
    end(caller, status, error).await;
}

/// Ends the record, and forgets the workloads.
pub(super) async fn end(caller: &Caller, status: BenchmarkStatus, error: Option<String>) {
    caller.forget().await;
    let finished_at = caller.service().shared.clock.now();
    let mut record = Benchmark::clone(&caller.record());
    record.status = status;
    record.error = error;
    record.finished_at = Some(finished_at);
    let ended = Arc::new(record);
    // Shown when it is on disk, so that nobody sees an end that a restart takes back.
    save(caller, Arc::clone(&ended)).await;
    caller.change(|record| *record = Benchmark::clone(&ended));
    tracing::info!(status = status.as_str(), "benchmark ended");
}

async fn save(caller: &Caller, record: Arc<Benchmark>) {
    if let Err(error) = caller
        .service()
        .shared
        .store
        .write(Write::Benchmark(record))
        .await
    {
        tracing::warn!(error = %chain(&error), "benchmark could not be stored");
    }
}

async fn measure(caller: &Arc<Caller>) -> Result<(), Interrupted> {
    let inventory = caller.service().shared.inventory.borrow().clone();
    let backends: Vec<&BackendInfo> = inventory.backends().collect();
    let node = inventory.nodes().find(|node| node.ready).cloned();
    let plan = plan(&caller.record().spec, &backends);
    let environment = environment(caller, node, &backends).await;
    caller.change(|record| {
        record.environment = environment;
        record.absent = plan.absent;
        record.progress.total = plan.steps.iter().map(Step::units).sum();
    });
    let mut not_offered = NotOffered::new();
    let mut done = 0;
    for step in plan.steps {
        caller.change(|record| record.progress.step = step.title());
        take(caller, &step, &mut not_offered).await?;
        caller.forget().await;
        done += step.units();
        caller.change(|record| record.progress.done = done);
        save(caller, caller.record()).await;
    }
    Ok(())
}

async fn take(caller: &Arc<Caller>, step: &Step, not_offered: &mut NotOffered) -> Result<(), Interrupted> {
    match step {
        Step::Start {
            row,
            work,
            start,
            samples,
            floors,
        } => {
            let wanted = starts::Wanted {
                row,
                work: *work,
                start: *start,
                samples: *samples,
            };
            if let Some(reason) = reason(not_offered, row.isolation, *start) {
                let row = starts::not_offered(wanted, reason);
                caller.change(|record| record.starts.push(row));
                return Ok(());
            }
            let mut floors = Floors::new(row.isolation, floors);
            let measured = starts::measure(caller, wanted, &mut floors).await?;
            remember(not_offered, &measured);
            caller.change(|record| {
                record.starts.push(measured);
                record.floors.extend(floors.rows());
            });
        }
        Step::Memory { row } => {
            let measured = memory::measure(caller, row).await?;
            caller.change(|record| record.memory.push(measured));
        }
        Step::Rate {
            row,
            start,
            concurrency,
            duration,
        } => {
            if reason(not_offered, row.isolation, *start).is_none() {
                let wanted = rates::Wanted {
                    row,
                    start: *start,
                    concurrency: *concurrency,
                    duration: *duration,
                };
                let measured = rates::measure(caller, wanted).await?;
                caller.change(|record| record.rates.push(measured));
            }
        }
        Step::Floors { row, samples } => {
            let measured = floors::measure(caller, row, *samples, step).await?;
            caller.change(|record| record.floors.extend(measured));
        }
    }
    Ok(())
}

fn reason(not_offered: &NotOffered, isolation: IsolationClass, start: StartKind) -> Option<&str> {
    let found = not_offered
        .iter()
        .find(|(class, kind, _)| (*class, *kind) == (isolation, start));
    found.map(|(_, _, reason)| reason.as_str())
}

/// What a no-op cannot have, nothing can.
fn remember(not_offered: &mut NotOffered, measured: &BenchmarkStart) {
    if let (BenchmarkWork::Noop, None, Some(note)) = (measured.work, measured.total_ms, &measured.note) {
        not_offered.push((measured.isolation, measured.start, note.clone()));
    }
}

/// Says what everything is measured on; `None` when the node does not say.
async fn environment(
    caller: &Caller,
    node: Option<NodeInfo>,
    backends: &[&BackendInfo],
) -> Option<BenchmarkEnvironment> {
    let node = node?;
    let facts = match caller.machine().await {
        Ok(facts) => facts,
        Err(reason) => {
            tracing::warn!(error = reason, "node did not say what it is");
            return None;
        }
    };
    let mut versions = versions(backends);
    versions.extend(facts.versions);
    versions.insert("vulcan".to_owned(), node.version);
    Some(BenchmarkEnvironment {
        node: node.name,
        cpu: facts.cpu,
        cpus: node.capacity.cpus,
        memory_mb: facts.memory_mb,
        kernel: node.kernel,
        versions,
    })
}

/// Returns the versions of the runtimes that the classes have.
fn versions(backends: &[&BackendInfo]) -> BTreeMap<String, String> {
    let is_told = |runtime: Runtime| match runtime {
        Runtime::Python | Runtime::Node | Runtime::Typescript | Runtime::Wasm => true,
        Runtime::Bash | Runtime::Go | Runtime::Binary | Runtime::Image => false,
    };
    let mut versions = BTreeMap::new();
    for backend in backends {
        let runtimes = backend.runtimes.iter();
        for info in runtimes.filter(|info| info.available && is_told(info.runtime)) {
            versions.insert(
                format!("{} {}", backend.isolation, info.runtime),
                info.detail.clone(),
            );
        }
    }
    versions
}
