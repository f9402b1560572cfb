//! Version 2: one hierarchy.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    group::{Counters, Limits, PERIOD_US, keyed, quota_us, read_pids},
    tree::remove_with_processes,
};

const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];

/// Makes the folder of our groups, with the controllers on for its children.
///
/// Below this process's own group where that can be: it moves into a leaf first, as only leaves may hold processes.
/// Otherwise, for root, at the top of the hierarchy. The error is a sentence for the operator.
pub(super) fn make_base(mount: &Path, own: &Path, name: &str) -> Result<PathBuf, String> {
    make_below_own(own, name).or_else(|own_error| {
        make_below(mount, name).map_err(|_| {
            format!(
                "the cgroup {} cannot be used: {own_error}; start the server as root, or in a delegated group \
                 (systemd: Delegate=yes)",
                own.display()
            )
        })
    })
}

fn make_below_own(own: &Path, name: &str) -> io::Result<PathBuf> {
    make_below(own, name).or_else(|error| {
        if error.kind() != io::ErrorKind::ResourceBusy {
            return Err(error);
        }
        let leaf = own.join("vulcan-server");
        fs::create_dir(&leaf).or_else(exists_already)?;
        fs::write(leaf.join("cgroup.procs"), std::process::id().to_string())?;
        make_below(own, name)
    })
}

fn make_below(parent: &Path, name: &str) -> io::Result<PathBuf> {
    enable_controllers(parent)?;
    let base = parent.join(name);
    fs::create_dir(&base).or_else(exists_already)?;
    enable_controllers(&base)?;
    Ok(base)
}

fn enable_controllers(folder: &Path) -> io::Result<()> {
    let control = folder.join("cgroup.subtree_control");
    let on = fs::read_to_string(&control)?;
    let wanted: Vec<String> = CONTROLLERS
        .iter()
        .filter(|name| !on.split_whitespace().any(|word| word == **name))
        .map(|name| format!("+{name}"))
        .collect();
    if wanted.is_empty() {
        Ok(())
    } else {
        fs::write(&control, wanted.join(" "))
    }
}

fn exists_already(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::AlreadyExists {
        Ok(())
    } else {
        Err(error)
    }
}

/// The folder of one group, and the descriptor through which its peak is counted.
#[derive(Debug)]
pub(super) struct GroupFiles {
    folder: PathBuf,
    /// `memory.peak`, whose writes reset what this descriptor shows (since Linux 6.12).
    peak: Option<File>,
    has_been_used: bool,
}

impl GroupFiles {
    pub(super) fn create(base: &Path, group: &str) -> io::Result<Self> {
        let folder = base.join(group);
        fs::create_dir(&folder).or_else(exists_already)?;
        Ok(Self {
            folder,
            peak: None,
            has_been_used: false,
        })
    }

    pub(super) fn attach(&self, pid: u32) -> io::Result<()> {
        self.write("cgroup.procs", &pid.to_string())
    }

    pub(super) fn set_limits(&self, limits: &Limits) -> io::Result<()> {
        self.write("memory.max", &limits.memory_bytes.to_string())?;
        // Absent where the kernel has no swap.
        match self.write("memory.swap.max", "0") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
        self.write("cpu.max", &format!("{} {PERIOD_US}", quota_us(limits.cpus)))?;
        self.write("pids.max", &limits.pids.to_string())
    }

    /// Resets the peak. Where the kernel cannot, only the first use of the group has one.
    pub(super) fn reset_peak(&mut self) {
        let path = self.folder.join("memory.peak");
        let resettable = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .and_then(|mut file| {
                file.write_all(b"reset")?;
                Ok(file)
            });
        self.peak = match resettable {
            Ok(file) => Some(file),
            Err(_) if self.has_been_used => None,
            Err(_) => File::open(&path).ok(),
        };
        self.has_been_used = true;
    }

    pub(super) fn counters(&self) -> io::Result<Counters> {
        let cpu = self.read("cpu.stat")?;
        let events = self.read("memory.events")?;
        Ok(Counters {
            cpu_time: Duration::from_micros(keyed(&cpu, "usage_usec").unwrap_or(0)),
            memory_peak_bytes: self.peak.as_ref().and_then(read_number),
            oom_kills: keyed(&events, "oom_kill").unwrap_or(0),
        })
    }

    pub(super) fn pids(&self) -> io::Result<Vec<u32>> {
        read_pids(&self.folder)
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        // Older than Linux 5.14 there is none, and the processes are killed one by one.
        let _ = self.write("cgroup.kill", "1");
        remove_with_processes(&self.folder)
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        // Not `fs::write`: it would create a missing file where the folder is no cgroup, and hide the mistake.
        File::options()
            .write(true)
            .open(self.folder.join(file))?
            .write_all(text.as_bytes())
    }

    fn read(&self, file: &str) -> io::Result<String> {
        fs::read_to_string(self.folder.join(file))
    }
}

fn read_number(mut file: &File) -> Option<u64> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with the files of a cgroup: this machine's controllers all belong to version 1.
    fn pretended_group() -> (tempfile::TempDir, GroupFiles) {
        let dir = tempfile::tempdir().unwrap();
        let group = GroupFiles::create(dir.path(), "slot").unwrap();
        for file in [
            "memory.max",
            "memory.swap.max",
            "cpu.max",
            "pids.max",
            "cgroup.procs",
        ] {
            fs::write(group.folder.join(file), "").unwrap();
        }
        (dir, group)
    }

    #[test]
    fn limits_are_written_in_the_kernel_s_words() {
        let (_dir, group) = pretended_group();
        group
            .set_limits(&Limits {
                memory_bytes: 1 << 27,
                cpus: 0.5,
                pids: 9,
            })
            .unwrap();
        let text =
            ["memory.max", "memory.swap.max", "cpu.max", "pids.max"].map(|file| group.read(file).unwrap());
        assert_eq!(text, ["134217728", "0", "50000 100000", "9"]);
    }

    #[test]
    fn counters_are_read_from_the_kernel_s_words() {
        let (_dir, mut group) = pretended_group();
        fs::write(group.folder.join("cpu.stat"), "usage_usec 1500\nuser_usec 1000\n").unwrap();
        fs::write(
            group.folder.join("memory.events"),
            "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n",
        )
        .unwrap();
        fs::write(group.folder.join("memory.peak"), "4096\n").unwrap();
        group.reset_peak();
        fs::write(group.folder.join("memory.peak"), "8192\n").unwrap();

        let counters = group.counters().unwrap();

        assert_eq!(counters.cpu_time, Duration::from_micros(1500));
        assert_eq!(counters.oom_kills, 1);
        assert_eq!(counters.memory_peak_bytes, Some(8192));
    }

    #[test]
    fn a_base_is_made_with_its_controllers_on() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cgroup.subtree_control"), "cpu\n").unwrap();
        let base = dir.path().join("vulcan-x");
        fs::create_dir(&base).unwrap();
        fs::write(base.join("cgroup.subtree_control"), "memory cpu pids\n").unwrap();

        assert_eq!(make_base(dir.path(), dir.path(), "vulcan-x").unwrap(), base);

        let text = fs::read_to_string(dir.path().join("cgroup.subtree_control")).unwrap();
        assert_eq!(text, "+memory +pids");
    }
}
