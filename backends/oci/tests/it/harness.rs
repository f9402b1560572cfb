//! Backends of their own, with roots to start on.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tempfile::TempDir;
use vulcan_api::{
    Clock as _, Code, InstanceId, Network, Program, Resources, Runtime, SystemClock, WorkloadId,
};
use vulcan_backend::{
    Backend, Instance, Invocation, InvokeMode, LogChunk, Outcome, Root, StartRequest, Upper,
};
use vulcan_backend_oci::{Oci, Options};

/// Ids of one harness: nobody else's, so that whatever runs under them is ours.
const SLOTS_PER_HARNESS: u32 = 128;

/// Which class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Container,
    Gvisor,
}

/// Returns options that no other test has.
pub(crate) fn options() -> Options {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    Options {
        run_dir: std::env::temp_dir(),
        slots_max: SLOTS_PER_HARNESS,
        slots_idle_max: 64,
        slots_ready_min: 1,
        ..Options::new(format!("test-{process}-{number}"))
    }
}

/// Makes a backend.
pub(crate) fn backend(class: Class, options: Options) -> Oci {
    match class {
        Class::Container => Oci::container(options),
        Class::Gvisor => Oci::gvisor(options),
    }
    .unwrap()
}

/// A root of busybox alone: `/bin/busybox` and a link for each of its programs that tests use.
pub(crate) struct Busybox {
    folder: TempDir,
}

impl Busybox {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
        for name in [
            "sh", "cat", "ls", "id", "pwd", "env", "sleep", "mkdir", "rm", "dd", "touch", "stat", "true",
        ] {
            std::os::unix::fs::symlink("busybox", bin.join(name)).unwrap();
        }
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn root(&self) -> Arc<Root> {
        root_of(vec![self.path().to_owned()])
    }
}

/// A root of these layers, the lowest first.
pub(crate) fn root_of(layers: Vec<PathBuf>) -> Arc<Root> {
    Arc::new(Root {
        digest: "sha256:test".to_owned(),
        layers,
        lease: Box::new(()),
    })
}

/// A start on a root.
pub(crate) fn request(root: Arc<Root>) -> StartRequest {
    StartRequest {
        instance: InstanceId::generate(SystemClock.now(), random()),
        resources: Resources::default(),
        network: Network::None,
        prepare: None,
        root: Some(root),
        upper: Upper::Memory,
    }
}

fn random() -> u128 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    (u128::from(std::process::id()) << 64) | u128::from(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A command of an image.
pub(crate) fn command(argv: &[&str]) -> Program {
    Program {
        image: None,
        runtime: Runtime::Image,
        code: Code::Image(vulcan_api::ImageProgram {
            argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
            working_dir: "/".to_owned(),
            user: String::new(),
        }),
        input: Bytes::new(),
        args: Vec::new(),
        env: std::collections::BTreeMap::new(),
    }
}

/// What a program left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) outcome: Outcome,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a program to its end.
pub(crate) async fn run(instance: &Arc<dyn Instance>, program: Program, mode: InvokeMode) -> Ran {
    let (sink, mut logs) = tokio::sync::mpsc::channel::<LogChunk>(64);
    let invocation = Invocation {
        workload: WorkloadId::generate(SystemClock.now(), random()),
        program,
        timeout: Duration::from_secs(30),
        output_bytes_max: 1024 * 1024,
        mode,
    };
    let gather = async {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some(chunk) = logs.recv().await {
            match chunk.stream {
                vulcan_api::LogStream::Stdout => stdout.extend_from_slice(&chunk.bytes),
                vulcan_api::LogStream::Stderr | vulcan_api::LogStream::System => {
                    stderr.extend_from_slice(&chunk.bytes);
                }
            }
        }
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (text(stdout), text(stderr))
    };
    let (outcome, (stdout, stderr)) = tokio::join!(instance.invoke(invocation, sink), gather);
    Ran {
        outcome: outcome.unwrap(),
        stdout,
        stderr,
    }
}

/// Runs a command in an instance of its own.
pub(crate) async fn run_alone(backend: &Oci, root: Arc<Root>, program: Program) -> Ran {
    let instance = backend.start(request(root)).await.unwrap();
    let ran = run(&instance, program, InvokeMode::Once).await;
    instance.stop(Duration::ZERO).await.unwrap();
    ran
}
