//! Backends of their own, with roots to start on.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
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

/// Slots of one harness.
const SLOTS: u32 = 64;
/// Ids of one instance: enough for whoever tests are.
const IDS_PER_SLOT: u32 = 2_048;
const IDS_PER_HARNESS: u32 = SLOTS * IDS_PER_SLOT;
/// Below those of the sandbox' tests.
const IDS_FIRST: u32 = 1_100_000_000;

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
    // Nobody else's, so that whatever runs under them is ours.
    let range = process.wrapping_mul(8).wrapping_add(number) % 5_000;
    Options {
        run_dir: std::env::temp_dir(),
        outer_id_first: Some(IDS_FIRST + range * IDS_PER_HARNESS),
        ids_per_slot: IDS_PER_SLOT,
        slots_max: SLOTS,
        // None is thrown away before the end, when it would look like something that is left.
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

/// Returns the root with Python, a shell and coreutils; makes it where it is missing.
pub(crate) fn python_root() -> Arc<Root> {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    let place = PLACE.get_or_init(|| {
        if let Some(place) = std::env::var_os("VULCAN_TEST_ROOT") {
            return place.into();
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/test-root");
        let output = std::process::Command::new(script).output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "no root to test on: {words}");
        String::from_utf8(output.stdout).unwrap().trim().into()
    });
    root_of(vec![place.clone()])
}

/// What of a backend is on the host: processes under its ids and below its launchers, and control groups.
pub(crate) fn leftovers(options: &Options) -> Vec<String> {
    let first = options.outer_id_first.unwrap();
    let ids = first..first + IDS_PER_HARNESS;
    let all = processes();
    let launchers: BTreeSet<u32> = all
        .iter()
        .filter(|process| process.name == LAUNCHER && process.parent == std::process::id())
        .map(|process| process.pid)
        .collect();
    let is_ours = |process: &&Process| ids.contains(&process.uid) || launchers.contains(&process.parent);
    let mut found: Vec<String> = all
        .iter()
        .filter(is_ours)
        .map(|process| format!("process {} ({})", process.pid, process.name))
        .collect();
    for base in folders_starting_with(&format!("vulcan-{}-", options.owner)) {
        for slot in fs::read_dir(&base).into_iter().flatten().flatten() {
            let pids = fs::read_to_string(slot.path().join("cgroup.procs")).unwrap_or_default();
            let guests = pids
                .lines()
                .filter_map(|pid| pid.parse().ok())
                .filter(|pid| !launchers.contains(pid) && full_name(*pid).is_some());
            found.extend(guests.map(|pid| format!("{}: process {pid}", slot.path().display())));
        }
    }
    found
}

/// Returns where something is mounted in the namespace of the tests.
pub(crate) fn mounts() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mounts").unwrap();
    text.lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(str::to_owned)
        .collect()
}

/// Finds the folders in every cgroup hierarchy whose names start in one way.
pub(crate) fn folders_starting_with(name: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let roots = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (fields.next()?, fields.next()?);
        kind.starts_with("cgroup").then(|| PathBuf::from(point))
    });
    let in_root = |root: PathBuf| fs::read_dir(root).into_iter().flatten().flatten();
    roots
        .flat_map(in_root)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(name))
        .map(|entry| entry.path())
        .collect()
}

const LAUNCHER: &str = "vulcan-launcher";

struct Process {
    pid: u32,
    parent: u32,
    uid: u32,
    name: String,
}

fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            // One that ended in between is no leftover.
            let status = fs::read_to_string(entry.path().join("status")).ok()?;
            let field = |key: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(key))?;
                line.split_whitespace().next().map(str::to_owned)
            };
            Some(Process {
                pid,
                parent: field("PPid:")?.parse().ok()?,
                uid: field("Uid:")?.parse().ok()?,
                name: full_name(pid)?,
            })
        })
        .collect()
}

/// Returns what a process was started as.
fn full_name(pid: u32) -> Option<String> {
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let first = arguments.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(first).into_owned())
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

/// The invocation of a program.
pub(crate) fn invocation(program: Program, mode: InvokeMode) -> Invocation {
    Invocation {
        workload: WorkloadId::generate(SystemClock.now(), random()),
        program,
        timeout: Duration::from_secs(30),
        output_bytes_max: 1024 * 1024,
        mode,
    }
}

/// Runs a program to its end.
pub(crate) async fn run(instance: &Arc<dyn Instance>, program: Program, mode: InvokeMode) -> Ran {
    let (sink, mut logs) = tokio::sync::mpsc::channel::<LogChunk>(64);
    let invocation = invocation(program, mode);
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

/// Changes what is asked of the image.
pub(crate) fn with_image(
    mut program: Program,
    change: impl FnOnce(&mut vulcan_api::ImageProgram),
) -> Program {
    match &mut program.code {
        Code::Image(image) => change(image),
        Code::File { .. } | Code::Archive { .. } => panic!("no program of an image"),
    }
    program
}
