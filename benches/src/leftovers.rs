//! What a server holds on the host, counted from outside.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::tree::{Kind, below};

/// How many new names of one kind are told.
const NAMES_MAX: usize = 3;

/// Counts at one moment. Processes and descriptors are the server's; everything else is the whole host's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Held {
    /// Processes below the server, in namespaces of their own, or named after the platform.
    pub(crate) processes: usize,
    /// Of these, the ones that are dead and not waited for.
    pub(crate) zombies: usize,
    /// Mounts in the host's own namespace.
    pub(crate) mounts: usize,
    /// Control groups in all hierarchies.
    pub(crate) cgroups: BTreeSet<PathBuf>,
    /// Namespaces of all kinds that some process is in.
    pub(crate) namespaces: usize,
    /// Unix sockets in the host's own network namespace.
    pub(crate) unix_sockets: usize,
    /// The server's open descriptors.
    pub(crate) descriptors: usize,
    /// Files in the data folder beside records and logs.
    pub(crate) other_files: BTreeSet<PathBuf>,
    /// Entries of the system's folders for temporary files.
    pub(crate) temporary: usize,
}

impl Held {
    /// Counts; without a server what it would own is 0.
    pub(crate) fn now(server: Option<u32>, data: &Path) -> Self {
        let processes = processes(server);
        Self {
            zombies: processes.iter().filter(|process| process.is_zombie).count(),
            processes: processes.len(),
            mounts: lines("/proc/self/mountinfo"),
            cgroups: below(Path::new("/sys/fs/cgroup"), Kind::Folder)
                .into_iter()
                .collect(),
            namespaces: namespaces(),
            unix_sockets: lines("/proc/net/unix"),
            descriptors: server.map_or(0, |pid| entries(Path::new(&format!("/proc/{pid}/fd")))),
            other_files: below(data, Kind::File)
                .into_iter()
                .filter(|path| !is_record(data, path))
                .collect(),
            temporary: ["/tmp", "/var/tmp", "/dev/shm", "/run"]
                .iter()
                .map(|path| entries(Path::new(path)))
                .sum(),
        }
    }

    /// Returns the counts with their names.
    pub(crate) fn rows(&self) -> [(&'static str, usize); 9] {
        [
            ("processes", self.processes),
            ("zombies", self.zombies),
            ("mounts", self.mounts),
            ("cgroups", self.cgroups.len()),
            ("namespaces", self.namespaces),
            ("unix sockets", self.unix_sockets),
            ("server descriptors", self.descriptors),
            ("other files in the data folder", self.other_files.len()),
            ("temporary files", self.temporary),
        ]
    }

    /// Returns what is more here than in an earlier count, in words, with names where there are some.
    pub(crate) fn beyond(&self, earlier: &Self) -> Vec<String> {
        let pairs = self.rows().into_iter().zip(earlier.rows());
        let mut more: Vec<String> = pairs
            .filter(|((_, now), (_, then))| now > then)
            .map(|((name, now), (_, then))| format!("{name}: {then} → {now}"))
            .collect();
        if !more.is_empty() {
            let named = [
                (&self.cgroups, &earlier.cgroups),
                (&self.other_files, &earlier.other_files),
            ];
            let new = named
                .into_iter()
                .flat_map(|(now, then)| now.difference(then).take(NAMES_MAX));
            more.extend(new.map(|path| path.display().to_string()));
        }
        more
    }
}

/// Records are databases with the lock beside them; logs and images are what lies in their folders, and is to stay. What is
/// half made of an image is not.
fn is_record(data: &Path, path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let below = path.strip_prefix(data).unwrap_or(path);
    let is_half_made = below.starts_with("images/staging");
    let is_kept = (below.starts_with("logs") || below.starts_with("images")) && !is_half_made;
    let is_database = [".db", ".db-wal", ".db-shm", ".lock"];
    is_kept || is_database.iter().any(|end| name.ends_with(end))
}

#[derive(Debug)]
struct Process {
    pid: u32,
    parent: u32,
    is_launcher: bool,
    is_zombie: bool,
    is_apart: bool,
}

/// Returns a process and all that are below it.
pub(crate) fn family(root: u32) -> BTreeSet<u32> {
    let all: Vec<Process> = pids()
        .into_iter()
        .filter_map(|pid| process(pid, &PathBuf::new()))
        .collect();
    family_among(&all, Some(root))
}

fn family_among(all: &[Process], root: Option<u32>) -> BTreeSet<u32> {
    let mut family: BTreeSet<u32> = root.into_iter().collect();
    // Parents may have higher numbers than their children: until nothing is added.
    loop {
        let is_child =
            |process: &&Process| family.contains(&process.parent) && !family.contains(&process.pid);
        let children: Vec<u32> = all.iter().filter(is_child).map(|process| process.pid).collect();
        if children.is_empty() {
            return family;
        }
        family.extend(children);
    }
}

fn processes(server: Option<u32>) -> Vec<Process> {
    let ours = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let all: Vec<Process> = pids().into_iter().filter_map(|pid| process(pid, &ours)).collect();
    let family = family_among(&all, server);
    let is_held =
        |process: &Process| process.is_apart || process.is_launcher || family.contains(&process.pid);
    all.into_iter().filter(is_held).collect()
}

/// Reads what is needed of /proc/PID/stat (man 5 proc); `None` when the process is gone.
fn process(pid: u32, ours: &PathBuf) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let namespace = fs::read_link(format!("/proc/{pid}/ns/pid"));
    let command = fs::read(format!("/proc/{pid}/cmdline"));
    Some(Process {
        pid,
        parent: fields.next()?.parse().ok()?,
        is_launcher: command.is_ok_and(|command| command.starts_with(b"vulcan-launcher\0")),
        is_zombie: state == "Z",
        is_apart: namespace.is_ok_and(|namespace| namespace != *ours),
    })
}

fn namespaces() -> usize {
    let mut namespaces = BTreeSet::new();
    for pid in pids() {
        for entry in fs::read_dir(format!("/proc/{pid}/ns"))
            .into_iter()
            .flatten()
            .flatten()
        {
            namespaces.extend(fs::read_link(entry.path()));
        }
    }
    namespaces.len()
}

fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn lines(path: &str) -> usize {
    fs::read_to_string(path).unwrap_or_default().lines().count()
}

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).into_iter().flatten().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_more_is_left_over() {
        let before = Held {
            processes: 3,
            mounts: 7,
            ..Held::default()
        };
        let after = Held {
            processes: 4,
            mounts: 6,
            ..Held::default()
        };
        assert_eq!(after.beyond(&before), ["processes: 3 → 4"]);
    }

    #[test]
    fn databases_logs_and_images_are_records() {
        let data = Path::new("/d");
        assert!(is_record(data, Path::new("/d/control.db-wal")));
        assert!(is_record(data, Path::new("/d/logs/ab/wl_1.ndjson")));
        assert!(is_record(data, Path::new("/d/images/blobs/sha256/1")));
        assert!(!is_record(data, Path::new("/d/images/staging/made-1/a")));
        assert!(!is_record(data, Path::new("/d/work/wl_1/logs/a")));
    }
}
