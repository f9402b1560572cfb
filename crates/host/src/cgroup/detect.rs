//! Which control groups this host has, and where this process sits in them.

use std::{collections::BTreeMap, fs, io, path::PathBuf};

/// The controllers that limit and measure an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Controller {
    Memory,
    Cpu,
    CpuAccount,
    Pids,
}

impl Controller {
    pub(super) const ALL: [Self; 4] = [Self::Memory, Self::Cpu, Self::CpuAccount, Self::Pids];

    /// Returns the name in version 1.
    pub(super) const fn name_v1(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::CpuAccount => "cpuacct",
            Self::Pids => "pids",
        }
    }
}

/// Where this process's own groups are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Layout {
    /// One unified hierarchy.
    V2 {
        /// Where it is mounted.
        mount: PathBuf,
        /// The folder of this process's group.
        own: PathBuf,
    },
    /// One hierarchy per controller; only those that exist.
    V1(BTreeMap<Controller, PathBuf>),
}

/// Reads the layout of this process.
pub(super) fn layout() -> io::Result<Layout> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    Ok(parse(&mounts, &groups))
}

fn parse(mountinfo: &str, groups: &str) -> Layout {
    let mounts: Vec<Mount> = mountinfo.lines().filter_map(Mount::parse).collect();
    let v1: BTreeMap<Controller, PathBuf> = Controller::ALL
        .into_iter()
        .filter_map(|controller| {
            let name = controller.name_v1();
            let mount = mounts.iter().find(|mount| {
                mount.kind == "cgroup" && mount.options.split(',').any(|option| option == name)
            })?;
            Some((controller, mount.folder_of(own_path(groups, name)?)))
        })
        .collect();
    let v2 = mounts.iter().find(|mount| mount.kind == "cgroup2");
    match (v1.is_empty(), v2) {
        (true, Some(mount)) => Layout::V2 {
            mount: PathBuf::from(mount.point),
            own: mount.folder_of(own_path(groups, "").unwrap_or("/")),
        },
        _ => Layout::V1(v1),
    }
}

/// Finds the path of this process in the hierarchy of a controller; the empty name is version 2 (man 7 cgroups).
fn own_path<'a>(groups: &'a str, controller: &str) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        controllers
            .split(',')
            .any(|name| name == controller)
            .then_some(path)
    })
}

/// One line of mountinfo (man 5 proc_pid_mountinfo).
struct Mount<'a> {
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let mut after = after.split(' ');
        Some(Self {
            root: before.next()?,
            point: before.next()?,
            kind: after.next()?,
            options: after.nth(1)?,
        })
    }

    /// Returns the folder of a group, which lies below the part of the hierarchy that is mounted.
    fn folder_of(&self, path: &str) -> PathBuf {
        let below = path.strip_prefix(self.root.trim_end_matches('/')).unwrap_or("/");
        PathBuf::from(self.point).join(below.trim_start_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_host_is_version_1() {
        let mounts = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
36 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
37 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
        let groups = "4:memory:/a/b\n2:cpu,cpuacct:/\n0::/";
        let expected = BTreeMap::from([
            (Controller::Memory, PathBuf::from("/sys/fs/cgroup/memory/a/b")),
            (Controller::Cpu, PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/")),
            (
                Controller::CpuAccount,
                PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/"),
            ),
        ]);
        assert_eq!(parse(mounts, groups), Layout::V1(expected));
    }

    #[test]
    fn a_unified_host_is_version_2() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(
            parse(mounts, "0::/system.slice/vulcan.service\n"),
            Layout::V2 {
                mount: "/sys/fs/cgroup".into(),
                own: "/sys/fs/cgroup/system.slice/vulcan.service".into()
            }
        );
    }

    #[test]
    fn inside_a_container_the_mounted_part_counts() {
        let mounts = "30 23 0:26 /docker/x /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids";
        let expected = BTreeMap::from([(Controller::Pids, PathBuf::from("/sys/fs/cgroup/pids/sub"))]);
        assert_eq!(parse(mounts, "8:pids:/docker/x/sub"), Layout::V1(expected));
    }

    #[test]
    fn a_host_without_control_groups_has_none() {
        assert_eq!(
            parse("25 1 0:3 / /proc rw - proc proc rw", ""),
            Layout::V1(BTreeMap::new())
        );
    }
}
