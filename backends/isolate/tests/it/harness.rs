//! Makes backends, and runs programs in them.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::mpsc;
use vulcan_api::{
    Clock as _, Code, InstanceId, LogStream, Network, Program, Resources, Runtime, SystemClock, WorkloadId,
};
use vulcan_backend::{Backend as _, Instance, Invocation, InvokeMode, LogChunk, Outcome, StartRequest};
use vulcan_backend_isolate::{Isolate, Options};

/// Where user ids of tests begin; each harness has its own.
const IDS_FIRST: u32 = 1_910_000_000;
pub(crate) const IDS_PER_HARNESS: u32 = 32;

/// Returns Deno's executable, or ends the test with how to get it.
pub(crate) fn deno() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("VULCAN_DENO") {
        return Some(path.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_on_path = std::env::split_paths(&path).any(|folder| folder.join("deno").exists());
    assert!(
        is_on_path,
        "these tests need Deno on PATH or named by VULCAN_DENO: npm install --prefix <folder> deno"
    );
    None
}

/// Returns options that no other test has.
pub(crate) fn options() -> Options {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::SeqCst);
    // Tests run in processes of their own at the same time.
    let process = std::process::id();
    Options {
        deno: deno(),
        outer_id_first: IDS_FIRST
            + (process % 100_000) * IDS_PER_HARNESS * 8
            + (number % 8) * IDS_PER_HARNESS,
        slots_max: IDS_PER_HARNESS,
        slots_idle_max: 64,
        ..Options::new(format!("test-{process}-{number}"))
    }
}

/// A backend and one instance.
pub(crate) struct Stand {
    pub(crate) isolate: Isolate,
    pub(crate) instance: Arc<dyn Instance>,
}

/// How a program ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Returns the error's words, and its traceback where it has one.
    pub(crate) fn words(&self) -> String {
        let error = self.outcome.error.as_ref().expect("it failed");
        format!(
            "{}\n{}",
            error.message,
            error.stack.as_deref().unwrap_or_default()
        )
    }

    pub(crate) fn output(&self) -> &serde_json::Value {
        assert_eq!(self.outcome.error, None, "{self:?}");
        self.outcome.output.as_ref().expect("it has an output")
    }
}

pub(crate) fn request(resources: Resources, prepare: Option<Runtime>) -> StartRequest {
    StartRequest {
        root: None,
        upper: vulcan_backend::Upper::Memory,
        prepare,
        instance: InstanceId::generate(SystemClock.now(), 1),
        resources,
        network: Network::None,
    }
}

/// Makes a program of one file.
pub(crate) fn program(name: &str, code: &str) -> Program {
    Program {
        image: None,
        runtime: if name.ends_with(".ts") {
            Runtime::Typescript
        } else {
            Runtime::Node
        },
        code: Code::File {
            name: name.to_owned(),
            bytes: Bytes::copy_from_slice(code.as_bytes()),
        },
        input: Bytes::from_static(b"null"),
        args: Vec::new(),
        env: BTreeMap::new(),
    }
}

pub(crate) fn invocation(program: Program, mode: InvokeMode) -> Invocation {
    Invocation {
        workload: WorkloadId::generate(SystemClock.now(), 1),
        program,
        timeout: Duration::from_secs(60),
        output_bytes_max: 1 << 20,
        mode,
    }
}

impl Stand {
    pub(crate) async fn new() -> Self {
        Self::with(options(), Resources::default(), None).await
    }

    pub(crate) async fn with(options: Options, resources: Resources, prepare: Option<Runtime>) -> Self {
        let isolate = Isolate::new(options).unwrap();
        let instance = isolate.start(request(resources, prepare)).await.unwrap();
        Self { isolate, instance }
    }

    /// Runs a program within half a minute.
    pub(crate) async fn run(&self, program: Program, mode: InvokeMode) -> Ended {
        run_in(&*self.instance, program, mode).await
    }

    pub(crate) async fn end(self) {
        self.instance.stop(Duration::ZERO).await.unwrap();
        self.isolate.close().await;
    }
}

pub(crate) async fn run_in(instance: &dyn Instance, program: Program, mode: InvokeMode) -> Ended {
    let (logs, mut chunks) = mpsc::channel::<LogChunk>(64);
    let collect = async {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some(chunk) = chunks.recv().await {
            match chunk.stream {
                LogStream::Stdout => stdout.extend_from_slice(&chunk.bytes),
                LogStream::Stderr | LogStream::System => stderr.extend_from_slice(&chunk.bytes),
            }
        }
        (stdout, stderr)
    };
    let both = async { tokio::join!(instance.invoke(invocation(program, mode), logs), collect) };
    let (outcome, (stdout, stderr)) = tokio::time::timeout(Duration::from_secs(30), both)
        .await
        .expect("a program ends within half a minute");
    Ended {
        outcome: outcome.unwrap(),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// Runs one program in an instance of its own.
pub(crate) async fn run(program: Program) -> Ended {
    let stand = Stand::new().await;
    let ended = stand.run(program, InvokeMode::Once).await;
    stand.end().await;
    ended
}
