//! One run of the Go compiler, in an instance of its own.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};
use vulcan_api::{ErrorCode, InstanceId, LogStream, Network, Program, Resources, Runtime, WorkloadError};
use vulcan_backend::{
    BackendError, Instance, Invocation, InvokeMode, LogChunk, Outcome, StartRequest, Upper,
};

use super::compiler::{CompileError, CompileRequest, Compiled};
use crate::{CompileLimits, host, node::Node, outcome::chain, roots::root_of, store::InstanceRow};

/// Where the executable is, by the contract of [`Invocation::program`].
const EXECUTABLE: &str = "/work/out/program";
/// How much of the compiler's words is kept.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// Compiles; `None` when it was abandoned. Nothing of the instance is left in either case.
pub(super) async fn compile(
    node: &Arc<Node>,
    request: CompileRequest,
    abandoned: impl Future<Output = ()>,
) -> Option<Compiled> {
    tokio::pin!(abandoned);
    let limits = node.compiler.limits;
    let resources = resources(&limits, &request.resources);
    let _permit = tokio::select! {
        permit = node.compiler.permits.acquire() => permit.ok()?,
        () = &mut abandoned => return None,
    };
    let Some(backend) = node.backends.get(&request.isolation).map(Arc::clone) else {
        return Some(Err(unavailable(format!(
            "node {} has no backend for {}",
            node.name, request.isolation
        ))));
    };
    let _share = node.share_beyond_capacity(resources.mem_mb);
    let standing = tokio::select! {
        standing = node.stand(backend.as_ref(), Runtime::Go, None) => standing,
        () = &mut abandoned => return None,
    };
    let root = match standing {
        Ok(standing) => root_of(standing.as_ref()),
        Err(error) => return Some(Err(unavailable(error.message))),
    };
    let id = InstanceId::generate(node.clock.now(), host::random());
    node.store.instance_put(InstanceRow {
        id,
        workload: request.workload,
        isolation: request.isolation,
        created_at: node.clock.now(),
    });
    let start = StartRequest {
        prepare: None,
        root,
        upper: Upper::Memory,
        instance: id,
        resources,
        network: Network::None,
    };
    // A start that is dropped leaves nothing.
    let compiled = tokio::select! {
        started = backend.start(start) => match started {
            Ok(instance) => within(node, instance, request, resources, &mut abandoned).await,
            Err(error) => Some(Err(unavailable(chain(&error)))),
        },
        () = &mut abandoned => None,
    };
    node.store.instance_delete(id);
    compiled
}

/// Compiles in an instance, and ends it.
async fn within(
    node: &Arc<Node>,
    instance: Arc<dyn Instance>,
    request: CompileRequest,
    resources: Resources,
    abandoned: impl Future<Output = ()>,
) -> Option<Compiled> {
    let compiled = tokio::select! {
        compiled = build(instance.as_ref(), request, resources, &node.compiler.limits) => Some(compiled),
        () = abandoned => None,
    };
    match timeout(node.intervals.stop, instance.stop(Duration::ZERO)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(error = chain(&error), "instance left something behind"),
        Err(_) => tracing::error!("instance did not stop in time"),
    }
    compiled
}

async fn build(
    instance: &dyn Instance,
    request: CompileRequest,
    resources: Resources,
    limits: &CompileLimits,
) -> Compiled {
    let limit = Duration::try_from_secs_f64(resources.timeout_s).unwrap_or_default();
    let deadline = Instant::now() + limit;
    let invocation = Invocation {
        workload: request.workload,
        program: Program {
            image: None,
            runtime: Runtime::Go,
            code: request.code,
            input: Bytes::from_static(b"null"),
            args: Vec::new(),
            env: BTreeMap::new(),
        },
        timeout: limit,
        output_bytes_max: 0,
        mode: InvokeMode::Beside,
    };
    let too_late = || CompileError::Failed {
        message: format!("the compiler took longer than {limit:?}"),
    };
    let (outcome, stderr) = timeout_at(deadline, invoke(instance, invocation))
        .await
        .map_err(|_| too_late())?;
    if let Some(error) = outcome.map_err(|error| unavailable(chain(&error)))?.error {
        return Err(CompileError::Failed {
            message: message(&stderr, &error),
        });
    }
    let Some(files) = instance.files() else {
        return Err(unavailable("its instance has no files".to_owned()));
    };
    let read = files.read(EXECUTABLE, limits.executable_bytes_max);
    timeout_at(deadline, read)
        .await
        .map_err(|_| too_late())?
        .map_err(|error| CompileError::Failed {
            message: chain(&error),
        })
}

/// Runs the compiler, and gathers the first of its standard error.
async fn invoke(instance: &dyn Instance, invocation: Invocation) -> (Result<Outcome, BackendError>, Vec<u8>) {
    let (logs, mut chunks) = mpsc::channel::<LogChunk>(16);
    let mut stderr = Vec::new();
    let mut gather = |chunk: &LogChunk| {
        if chunk.stream == LogStream::Stderr {
            let room = MESSAGE_BYTES_MAX - stderr.len();
            stderr.extend_from_slice(&chunk.bytes[..room.min(chunk.bytes.len())]);
        }
    };
    let invoked = instance.invoke(invocation, logs);
    tokio::pin!(invoked);
    let outcome = loop {
        // Both branches are cancel-safe: one is polled by reference, and receiving loses nothing.
        tokio::select! {
            outcome = &mut invoked => break outcome,
            Some(chunk) = chunks.recv() => gather(&chunk),
        }
    };
    while let Ok(chunk) = chunks.try_recv() {
        gather(&chunk);
    }
    (outcome, stderr)
}

/// Returns the compiler's own words, and why it ended where that is not just an exit code.
fn message(stderr: &[u8], error: &WorkloadError) -> String {
    let words = String::from_utf8_lossy(stderr).trim_end().to_owned();
    match (words.is_empty(), error.code) {
        (true, _) => error.message.clone(),
        (false, ErrorCode::ExitCode | ErrorCode::Exception | ErrorCode::CompileFailed) => words,
        (false, _) => format!("{words}\n{}", error.message),
    }
}

/// Returns the compiler's limits: its own least, or the workload's where they are larger.
fn resources(limits: &CompileLimits, asked: &Resources) -> Resources {
    let least = limits.resources;
    Resources {
        cpus: least.cpus.max(asked.cpus),
        mem_mb: least.mem_mb.max(asked.mem_mb),
        disk_mb: least.disk_mb.max(asked.disk_mb),
        pids: least.pids.max(asked.pids),
        timeout_s: least.timeout_s,
    }
}

fn unavailable(reason: String) -> CompileError {
    CompileError::Unavailable { reason }
}
