//! A folder of ours in every hierarchy.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    detect::{Controller, Layout, layout},
    group::{Group, GroupKind, read_pids},
    v1, v2,
};

/// The part of the host's control groups that belongs to one owner. Groups of an earlier owner of the same name are in it
/// until [`Tree::sweep`]. Dropping it removes the folders if no group is left.
#[derive(Debug)]
pub struct Tree {
    kind: TreeKind,
    missing: Vec<String>,
}

#[derive(Debug)]
enum TreeKind {
    V1(v1::Folders),
    V2(PathBuf),
    None,
}

impl Tree {
    /// Makes the folders of owner `name`, or finds them. Never fails: what cannot be had is in [`Tree::missing`].
    #[must_use]
    pub fn open(name: &str) -> Self {
        match layout() {
            Err(error) => Self::none(format!("control groups cannot be read: {error}")),
            Ok(Layout::V1(own)) if own.is_empty() => {
                Self::none("no control groups are mounted at /sys/fs/cgroup".to_owned())
            }
            Ok(Layout::V1(own)) => {
                let (folders, missing) = v1::Folders::make(&own, name);
                let kind = if folders.is_empty() {
                    TreeKind::None
                } else {
                    TreeKind::V1(folders)
                };
                Self { kind, missing }
            }
            Ok(Layout::V2 { mount, own }) => match v2::make_base(&mount, &own, name) {
                Ok(base) => Self {
                    kind: TreeKind::V2(base),
                    missing: Vec::new(),
                },
                Err(reason) => Self::none(reason),
            },
        }
    }

    fn none(reason: String) -> Self {
        Self {
            kind: TreeKind::None,
            missing: vec![reason],
        }
    }

    /// Returns what cannot be limited or measured on this host, and why; one sentence each.
    #[must_use]
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Returns whether groups limit memory.
    #[must_use]
    pub fn limits_memory(&self) -> bool {
        match &self.kind {
            TreeKind::V1(folders) => folders.has(Controller::Memory),
            TreeKind::V2(_) => true,
            TreeKind::None => false,
        }
    }

    /// Makes a group; `None` where the host has no control groups for us.
    ///
    /// # Errors
    ///
    /// What the operating system said; nothing of the group is left.
    pub fn create(&self, group: &str) -> io::Result<Option<Group>> {
        let kind = match &self.kind {
            TreeKind::V1(folders) => GroupKind::V1(folders.create(group)?),
            TreeKind::V2(base) => GroupKind::V2(v2::GroupFiles::create(base, group)?),
            TreeKind::None => return Ok(None),
        };
        Ok(Some(Group::new(kind)))
    }

    /// Kills and removes every group that is there. Returns their names, and how many processes each still had.
    ///
    /// # Errors
    ///
    /// The first thing that could not be removed; everything else is.
    pub fn sweep(&self) -> io::Result<BTreeMap<String, usize>> {
        let mut swept = BTreeMap::new();
        let mut first_error = None;
        for base in self.bases() {
            for folder in subfolders(base)? {
                let processes = read_pids(&folder).map_or(0, |pids| pids.len());
                let name = folder
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                match remove_with_processes(&folder) {
                    // A group has a folder per hierarchy; whichever is swept first still has the processes.
                    Ok(()) => drop(swept.entry(name).or_insert(processes)),
                    Err(error) => first_error = first_error.or(Some(error)),
                }
            }
        }
        first_error.map_or(Ok(swept), Err)
    }

    fn bases(&self) -> Vec<&Path> {
        match &self.kind {
            TreeKind::V1(folders) => folders.paths(),
            TreeKind::V2(base) => vec![base],
            TreeKind::None => Vec::new(),
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        for base in self.bases() {
            // Groups that are left keep it, and are found by the next owner of the same name.
            let _ = fs::remove_dir(base);
        }
    }
}

fn subfolders(base: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(base)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

/// Kills what is in a group until nothing is, and removes it.
pub(super) fn remove_with_processes(folder: &Path) -> io::Result<()> {
    const ROUNDS_MAX: u32 = 200;
    const PAUSE: rustix::fs::Timespec = rustix::fs::Timespec {
        tv_sec: 0,
        tv_nsec: 10_000_000,
    };
    let mut round = 0;
    loop {
        match fs::remove_dir(folder) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if round == ROUNDS_MAX => return Err(error),
            Err(_) => {}
        }
        kill_processes(folder)?;
        round += 1;
        // Dying takes the kernel a moment, and it gives no sign that both versions have.
        let _ = rustix::thread::nanosleep(&PAUSE);
    }
}

fn kill_processes(folder: &Path) -> io::Result<()> {
    let text = match fs::read_to_string(folder.join("cgroup.procs")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for pid in text
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter_map(rustix::process::Pid::from_raw)
    {
        // A process that ended in between is what was wanted.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    Ok(())
}
