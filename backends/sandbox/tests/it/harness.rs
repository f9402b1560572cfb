//! What the conformance suite needs of the sandbox: a backend of its own per rule, and a look at the host afterwards.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use vulcan_api::Program;
use vulcan_backend::{
    Backend, ExecRequest,
    conformance::{Act, Broken, Harness, python},
};
use vulcan_backend_sandbox::{Options, Sandbox};

/// User ids that one harness may use: nobody else's, so that whatever runs under them is ours.
const IDS_PER_HARNESS: u32 = 64;
const LAUNCHER: &str = "vulcan-launcher";
const IDS_FIRST: u32 = 1_900_000_000;

/// One sandbox backend, and how the host looked before.
pub(crate) struct SandboxHarness {
    owner: String,
    outer_id_first: u32,
    mounts_before: BTreeSet<String>,
}

impl SandboxHarness {
    pub(crate) fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let range = (process.wrapping_mul(8).wrapping_add(number)) % 1_000_000;
        Self {
            owner: format!("test-{process}-{number}"),
            outer_id_first: IDS_FIRST + range * IDS_PER_HARNESS,
            mounts_before: mounts(),
        }
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            outer_id_first: self.outer_id_first,
            slots_max: IDS_PER_HARNESS,
            // None is thrown away before the end, when it would look like something that is left.
            slots_idle_max: 64,
            ..Options::new(self.owner.clone())
        }
    }

    pub(crate) fn sandbox(&self) -> Sandbox {
        Sandbox::new(self.options()).unwrap()
    }

    /// Finds processes of our instances: by user id as root, and as children of our launchers always.
    ///
    /// Launchers that are ours, and their spares, belong to the pool.
    fn processes(&self) -> Vec<String> {
        let all = processes();
        let launchers: BTreeSet<u32> = all
            .iter()
            .filter(|process| process.name == LAUNCHER && process.parent == std::process::id())
            .map(|process| process.pid)
            .collect();
        let ids = self.outer_id_first..self.outer_id_first + IDS_PER_HARNESS;
        all.iter()
            .filter(|process| ids.contains(&process.uid) || launchers.contains(&process.parent))
            .filter(|process| process.name != LAUNCHER || !launchers.contains(&process.parent))
            .map(|process| format!("process {} ({})", process.pid, process.name))
            .collect()
    }

    /// Finds cgroups of ours in which something other than a launcher is.
    fn cgroups(&self) -> Vec<String> {
        let name = format!("vulcan-{}", self.owner);
        let mut found = Vec::new();
        for base in folders_starting_with(&name) {
            for slot in fs::read_dir(&base).into_iter().flatten().flatten() {
                let pids = fs::read_to_string(slot.path().join("cgroup.procs")).unwrap_or_default();
                let guests = pids
                    .lines()
                    .filter(|pid| name_of(pid).is_some_and(|name| name != LAUNCHER));
                found.extend(guests.map(|pid| format!("{}: process {pid}", slot.path().display())));
            }
        }
        found
    }
}

#[async_trait]
impl Harness for SandboxHarness {
    async fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(self.sandbox())
    }

    fn program(&self, act: &Act) -> Option<Program> {
        Some(python::program(act))
    }

    fn command(&self, act: &Act) -> Option<ExecRequest> {
        python::command("/usr/bin/python3", act)
    }

    async fn broken(&self) -> Vec<Broken> {
        let broken = |what: &str, options: Options| Broken {
            what: what.to_owned(),
            backend: Arc::new(
                Sandbox::new(Options {
                    owner: format!("{}-{}", self.owner, what.replace(' ', "-")),
                    ..options
                })
                .unwrap(),
            ) as Arc<dyn Backend>,
        };
        let mut backends = vec![
            broken(
                "there are no slots",
                Options {
                    slots_max: 0,
                    ..self.options()
                },
            ),
            broken(
                "the agent may not open its channel",
                Options {
                    open_files_max: 1,
                    ..self.options()
                },
            ),
            broken(
                "a folder of the view cannot be taken",
                Options {
                    readable: vec!["/proc/self/fdinfo/x/../../nothing".into(), "/etc/passwd/x".into()],
                    ..self.options()
                },
            ),
        ];
        if rustix::process::geteuid().is_root() {
            // The number that means "no user" in every user namespace.
            let options = Options {
                outer_id_first: u32::MAX,
                ..self.options()
            };
            backends.push(broken("the user id cannot be mapped", options));
        }
        backends
    }

    async fn leftovers(&self) -> Vec<String> {
        let mounts = mounts()
            .difference(&self.mounts_before)
            .map(|mount| format!("mount {mount}"))
            .collect();
        [self.processes(), self.cgroups(), mounts].concat()
    }
}

/// Finds the folders in every cgroup hierarchy whose names start in one way.
pub(crate) fn folders_starting_with(name: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let roots = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (fields.next()?, fields.next()?);
        kind.starts_with("cgroup").then(|| PathBuf::from(point))
    });
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = roots.collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_string_lossy().starts_with(name) {
                    found.push(entry.path());
                } else {
                    folders.push(entry.path());
                }
            }
        }
    }
    found
}

fn mounts() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mounts").unwrap();
    text.lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(str::to_owned)
        .collect()
}

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

/// Returns what a process was started as; its short name is cut at 15 characters.
fn full_name(pid: u32) -> Option<String> {
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let first = arguments.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(first).into_owned())
}

fn name_of(pid: &str) -> Option<String> {
    full_name(pid.parse().ok()?)
}
