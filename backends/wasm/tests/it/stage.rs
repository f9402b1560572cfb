//! One backend, and short ways to run modules in it.

use std::{sync::Arc, time::Duration};

use tempfile::TempDir;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use vulcan_api::{
    Clock, ErrorCode, InstanceId, LogStream, Network, Program, Resources, SystemClock, WorkloadError,
    WorkloadId,
};
use vulcan_backend::{
    Backend, BackendError, Instance, Invocation, InvokeMode, LogChunk, Outcome, StartRequest,
};
use vulcan_backend_wasm::{Options, Wasm};

use crate::harness::program;

/// Only ends what would hang.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
pub(crate) const OUTPUT_BYTES_MAX: usize = 64 * 1024;

pub(crate) struct Stage {
    pub(crate) folder: TempDir,
    pub(crate) wasm: Wasm,
}

/// A program that runs.
pub(crate) struct Run {
    pub(crate) instance: Arc<dyn Instance>,
    chunks: mpsc::Receiver<LogChunk>,
    task: JoinHandle<Result<Outcome, BackendError>>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options {
            slots_max: 16,
            ..Options::new(Some(folder.path().join("cache")))
        };
        change(&mut options);
        let wasm = Wasm::new(&options).unwrap();
        Self { folder, wasm }
    }

    pub(crate) async fn start(&self, resources: Resources) -> Arc<dyn Instance> {
        self.wasm.start(request(resources)).await.unwrap()
    }

    /// Runs a program once in an instance of its own.
    pub(crate) async fn run(&self, program: Program) -> (Outcome, String) {
        self.run_with(program, Resources::default()).await
    }

    pub(crate) async fn run_with(&self, program: Program, resources: Resources) -> (Outcome, String) {
        let instance = self.start(resources).await;
        let ended = call(&instance, program, InvokeMode::Once).await;
        instance.stop(Duration::ZERO).await.unwrap();
        (ended.0.unwrap(), ended.1)
    }

    /// Runs a module in its text form, and returns why it failed.
    pub(crate) async fn failure(&self, text: &str) -> WorkloadError {
        let (outcome, _) = self.run(program("main.wat", text.to_owned(), &[])).await;
        outcome.error.unwrap()
    }

    /// Asserts how a module in its text form fails.
    pub(crate) async fn expect_failure(&self, text: &str, code: ErrorCode, words: &str) {
        let error = self.failure(text).await;
        assert_eq!(error.code, code, "{error:?}");
        assert!(error.message.contains(words), "not '{words}': {}", error.message);
    }

    pub(crate) async fn begin(&self, program: Program) -> Run {
        let instance = self.start(Resources::default()).await;
        begin(&instance, program, InvokeMode::Once)
    }

    /// Asserts that nothing is in use any more.
    pub(crate) fn expect_empty(&self) {
        let occupancy = self.wasm.occupancy();
        assert_eq!(
            (occupancy.instances, occupancy.memories, occupancy.stacks),
            (0, 0, 0)
        );
    }
}

impl Run {
    /// Waits until something was written.
    pub(crate) async fn wait_for_output(&mut self) -> LogChunk {
        timeout(DEADLINE, self.chunks.recv()).await.unwrap().unwrap()
    }

    /// Waits for the end, and returns what was written.
    pub(crate) async fn finish(mut self) -> (Vec<LogChunk>, Outcome) {
        let outcome = timeout(DEADLINE, self.task).await.unwrap().unwrap().unwrap();
        let mut written = Vec::new();
        while let Some(chunk) = self.chunks.recv().await {
            written.push(chunk);
        }
        (written, outcome)
    }

    /// Waits for the end.
    pub(crate) async fn result(self) -> Result<Outcome, BackendError> {
        self.task.await.unwrap()
    }

    /// Gives the program and its instance up, as a caller does who goes away.
    pub(crate) async fn abandon(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// Stops the instance, and asserts that this ended the program.
    pub(crate) async fn expect_stop(self) {
        timeout(DEADLINE, self.instance.stop(Duration::ZERO))
            .await
            .unwrap()
            .unwrap();
        let result = timeout(DEADLINE, self.task).await.unwrap().unwrap();
        assert!(matches!(result, Err(BackendError::Stopped)), "{result:?}");
    }
}

pub(crate) fn begin(instance: &Arc<dyn Instance>, program: Program, mode: InvokeMode) -> Run {
    let (sink, chunks) = mpsc::channel(64);
    let task = tokio::spawn({
        let instance = Arc::clone(instance);
        async move { instance.invoke(invocation(program, mode), sink).await }
    });
    Run {
        instance: Arc::clone(instance),
        chunks,
        task,
    }
}

/// Runs a program in an instance, and returns what became of it and what it wrote to standard output.
pub(crate) async fn call(
    instance: &Arc<dyn Instance>,
    program: Program,
    mode: InvokeMode,
) -> (Result<Outcome, BackendError>, String) {
    let (sink, mut chunks) = mpsc::channel::<LogChunk>(64);
    let reader = tokio::spawn(async move {
        let mut written = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            if chunk.stream == LogStream::Stdout {
                written.extend_from_slice(&chunk.bytes);
            }
        }
        written
    });
    let called = timeout(DEADLINE, instance.invoke(invocation(program, mode), sink))
        .await
        .unwrap();
    let written = timeout(DEADLINE, reader).await.unwrap().unwrap();
    (called, String::from_utf8_lossy(&written).into_owned())
}

pub(crate) fn request(resources: Resources) -> StartRequest {
    StartRequest {
        instance: InstanceId::generate(SystemClock.now(), 7),
        resources,
        network: Network::None,
        prepare: None,
        root: None,
        upper: vulcan_backend::Upper::Memory,
    }
}

pub(crate) fn invocation(program: Program, mode: InvokeMode) -> Invocation {
    Invocation {
        workload: WorkloadId::generate(SystemClock.now(), 7),
        program,
        timeout: DEADLINE,
        output_bytes_max: OUTPUT_BYTES_MAX,
        mode,
    }
}

/// Waits for a condition.
pub(crate) async fn poll(is_met: impl Fn() -> bool) {
    let met = async {
        while !is_met() {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, met).await.unwrap();
}
