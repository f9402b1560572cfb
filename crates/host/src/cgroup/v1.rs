//! Version 1: a hierarchy per controller.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    detect::Controller,
    group::{Counters, Limits, PERIOD_US, keyed, quota_us, read_pids},
    tree::remove_with_processes,
};

/// A folder of ours per controller that can be had.
#[derive(Debug)]
pub(super) struct Folders(BTreeMap<Controller, PathBuf>);

impl Folders {
    /// Makes the folders below this process's own groups. Returns what cannot be had beside them.
    pub(super) fn make(own: &BTreeMap<Controller, PathBuf>, name: &str) -> (Self, Vec<String>) {
        let mut folders = BTreeMap::new();
        let mut missing = Vec::new();
        for controller in Controller::ALL {
            let kind = controller.name_v1();
            let Some(parent) = own.get(&controller) else {
                missing.push(format!("the cgroup controller '{kind}' is not mounted"));
                continue;
            };
            let folder = parent.join(name);
            match make_writable(&folder) {
                Ok(()) => drop(folders.insert(controller, folder)),
                Err(error) => {
                    missing.push(format!(
                        "the cgroup controller '{kind}' cannot be used: {folder:?}: {error}"
                    ));
                }
            }
        }
        (Self(folders), missing)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, controller: Controller) -> bool {
        self.0.contains_key(&controller)
    }

    pub(super) fn paths(&self) -> Vec<&Path> {
        self.0.values().map(PathBuf::as_path).collect()
    }

    pub(super) fn create(&self, group: &str) -> io::Result<GroupFiles> {
        let files = GroupFiles(
            self.0
                .iter()
                .map(|(kind, base)| (*kind, base.join(group)))
                .collect(),
        );
        for folder in files.0.values() {
            if let Err(error) = fs::create_dir(folder).or_else(exists_already) {
                let _ = files.remove();
                return Err(error);
            }
        }
        Ok(files)
    }
}

/// Makes a folder; one that is there already must be ours to use.
fn make_writable(folder: &Path) -> io::Result<()> {
    fs::create_dir(folder).or_else(exists_already)?;
    rustix::fs::access(folder, rustix::fs::Access::WRITE_OK)?;
    Ok(())
}

/// Controllers may share a hierarchy, and then a folder.
fn exists_already(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::AlreadyExists {
        Ok(())
    } else {
        Err(error)
    }
}

/// The folders of one group.
#[derive(Debug)]
pub(super) struct GroupFiles(BTreeMap<Controller, PathBuf>);

impl GroupFiles {
    pub(super) fn attach(&self, pid: u32) -> io::Result<()> {
        self.0
            .values()
            .try_for_each(|folder| fs::write(folder.join("cgroup.procs"), pid.to_string()))
    }

    pub(super) fn set_limits(&self, limits: &Limits) -> io::Result<()> {
        if let Some(memory) = self.0.get(&Controller::Memory) {
            set_memory(memory, limits.memory_bytes)?;
        }
        if let Some(cpu) = self.0.get(&Controller::Cpu) {
            fs::write(cpu.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
            fs::write(cpu.join("cpu.cfs_quota_us"), quota_us(limits.cpus).to_string())?;
        }
        if let Some(pids) = self.0.get(&Controller::Pids) {
            fs::write(pids.join("pids.max"), limits.pids.to_string())?;
        }
        Ok(())
    }

    pub(super) fn reset_peak(&self) -> io::Result<()> {
        self.0.get(&Controller::Memory).map_or(Ok(()), |memory| {
            fs::write(memory.join("memory.max_usage_in_bytes"), "0")
        })
    }

    pub(super) fn counters(&self) -> io::Result<Counters> {
        let mut counters = Counters::default();
        if let Some(account) = self.0.get(&Controller::CpuAccount) {
            counters.cpu_time = Duration::from_nanos(read_number(&account.join("cpuacct.usage"))?);
        }
        if let Some(memory) = self.0.get(&Controller::Memory) {
            counters.memory_peak_bytes = Some(read_number(&memory.join("memory.max_usage_in_bytes"))?);
            let oom = fs::read_to_string(memory.join("memory.oom_control"))?;
            counters.oom_kills = keyed(&oom, "oom_kill").unwrap_or(0);
        }
        Ok(counters)
    }

    pub(super) fn pids(&self) -> io::Result<Vec<u32>> {
        self.0
            .values()
            .next()
            .map_or(Ok(Vec::new()), |folder| read_pids(folder))
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        // All of them, whatever becomes of one.
        let results: Vec<io::Result<()>> = self
            .0
            .values()
            .map(|folder| remove_with_processes(folder))
            .collect();
        results.into_iter().collect()
    }
}

fn read_number(path: &Path) -> io::Result<u64> {
    fs::read_to_string(path)?.trim().parse().map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} holds no number", path.display()),
        )
    })
}

/// Sets memory, and memory with swap to the same where the kernel counts swap.
///
/// The kernel refuses a limit above the one with swap, so that one goes out of the way first.
fn set_memory(folder: &Path, bytes: u64) -> io::Result<()> {
    let with_swap = folder.join("memory.memsw.limit_in_bytes");
    let counts_swap = with_swap.exists();
    if counts_swap {
        fs::write(&with_swap, "-1")?;
    }
    fs::write(folder.join("memory.limit_in_bytes"), bytes.to_string())?;
    if counts_swap {
        fs::write(&with_swap, bytes.to_string())?;
    } else {
        fs::write(folder.join("memory.swappiness"), "0")?;
    }
    Ok(())
}
