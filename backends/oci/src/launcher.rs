//! How runtimes are found and called.

use std::path::{Path, PathBuf};

use vulcan_host::launcher::{Command, bundle};

use crate::{
    Options, Platform,
    configuration::{Filter, Kernel},
};

/// The host name of every instance.
pub(crate) const HOSTNAME: &str = "vulcan";
/// The only instance of its keeper.
const ID: &str = "instance";
const PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";

/// What says which release of which distribution this is: `man 5 os-release`.
const OS_RELEASE: &str = "/etc/os-release";

/// A runtime that is not on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lacking {
    /// Its name.
    pub(crate) name: &'static str,
    /// The package that has it, as apt takes it.
    pub(crate) package: String,
}

/// A runtime that starts the instance of a bundle.
pub(crate) trait Launcher: Send + Sync + std::fmt::Debug {
    /// Its name, for people.
    fn name(&self) -> &'static str;
    /// Where it is.
    fn path(&self) -> &Path;
    /// How to get it.
    fn remedy(&self) -> &'static str;
    /// The package that has it, as apt takes it: a name, with the release behind a slash where that is not the machine's own.
    fn package(&self) -> String {
        self.name().to_owned()
    }
    /// Whose kernel programs see.
    fn kernel(&self) -> Kernel;
    /// How it takes the filter of system calls.
    fn filter(&self) -> Filter;
    /// What it must not see.
    fn hidden(&self) -> &[&'static str] {
        &[]
    }
    /// Its arguments, behind its name.
    fn arguments(&self) -> Vec<String>;

    /// Returns what the keeper executes. It starts the instance and ends: what stays is the instance alone.
    fn command(&self) -> Command {
        let own_name = [self.name().to_owned()];
        Command {
            path: self.path().display().to_string(),
            argv: own_name.into_iter().chain(self.arguments()).collect(),
            env: vec![PATH.to_owned()],
        }
    }
}

/// crun: half of a start with runc, most of which is Go's and the control groups'.
#[derive(Debug)]
struct Crun {
    path: PathBuf,
    has_extra_calls: bool,
}

impl Launcher for Crun {
    fn name(&self) -> &'static str {
        "crun"
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn remedy(&self) -> &'static str {
        "apt-get install crun"
    }

    fn kernel(&self) -> Kernel {
        Kernel::Host
    }

    fn filter(&self) -> Filter {
        if self.has_extra_calls {
            Filter::Listed
        } else {
            Filter::Compiled
        }
    }

    fn arguments(&self) -> Vec<String> {
        // It refuses a host with both versions of control groups, but not when it is told to leave them alone.
        let global = ["--root", bundle::STATE, "--cgroup-manager=disabled"];
        let run = [
            "run",
            "--detach",
            "--preserve-fds",
            "1",
            "--bundle",
            bundle::BUNDLE,
            ID,
        ];
        texts(&global, &run)
    }
}

/// runc.
#[derive(Debug)]
struct Runc(PathBuf);

impl Launcher for Runc {
    fn name(&self) -> &'static str {
        "runc"
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn remedy(&self) -> &'static str {
        "apt-get install runc"
    }

    fn kernel(&self) -> Kernel {
        Kernel::Host
    }

    fn filter(&self) -> Filter {
        Filter::Listed
    }

    fn arguments(&self) -> Vec<String> {
        // It insists on control groups; those in the view are read-only, which it takes for a server without rights to them.
        let global = ["--root", bundle::STATE, "--rootless=true"];
        let run = [
            "run",
            "--detach",
            "--preserve-fds",
            "1",
            "--bundle",
            bundle::BUNDLE,
            ID,
        ];
        texts(&global, &run)
    }
}

/// gVisor's runsc.
#[derive(Debug)]
struct Runsc {
    path: PathBuf,
    platform: Platform,
}

impl Launcher for Runsc {
    fn name(&self) -> &'static str {
        "runsc"
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn remedy(&self) -> &'static str {
        "apt-get install -t bookworm-backports runsc"
    }

    fn package(&self) -> String {
        runsc_package(&std::fs::read_to_string(OS_RELEASE).unwrap_or_default()).to_owned()
    }

    fn kernel(&self) -> Kernel {
        Kernel::Gvisor
    }

    fn filter(&self) -> Filter {
        Filter::Listed
    }

    fn hidden(&self) -> &[&'static str] {
        // It takes a host whose network it may configure for one whose network it was to use.
        &["/proc/sys/net"]
    }

    fn arguments(&self) -> Vec<String> {
        let platform = match self.platform {
            Platform::Systrap => "--platform=systrap",
            Platform::Kvm => "--platform=kvm",
        };
        // The slot's control group has it already, and overlayfs of the host keeps the layers clean and the quota.
        let global = [
            "--root",
            bundle::STATE,
            platform,
            "--network=none",
            "--ignore-cgroups",
            "--overlay2=none",
            // What programs do not need of its own kernel is refused before that kernel looks at it.
            "--oci-seccomp",
        ];
        let run = [
            "run",
            "--detach",
            "--pass-fd",
            "3:3",
            "--bundle",
            bundle::BUNDLE,
            ID,
        ];
        texts(&global, &run)
    }
}

/// Returns the package of runsc on a machine with this `os-release`: Debian 12 has gVisor of 2022, which traces every system call
/// with ptrace; its backports have one that does not.
fn runsc_package(os_release: &str) -> &'static str {
    let is_bookworm = |line: &str| line.trim() == "VERSION_CODENAME=bookworm";
    if os_release.lines().any(is_bookworm) {
        "runsc/bookworm-backports"
    } else {
        "runsc"
    }
}

/// Returns the package of the runtime that is tried first, where none is on the machine.
pub(crate) fn lacking(launchers: &[Box<dyn Launcher>]) -> Option<Lacking> {
    let first = launchers.first()?;
    let is_there = launchers.iter().any(|launcher| launcher.path().exists());
    (!is_there).then(|| Lacking {
        name: first.name(),
        package: first.package(),
    })
}

fn texts(first: &[&str], second: &[&str]) -> Vec<String> {
    first
        .iter()
        .chain(second)
        .map(|text| (*text).to_owned())
        .collect()
}

/// Returns the runtimes of the class `container`, the one to try first in front.
pub(crate) fn of_containers(options: &Options) -> Vec<Box<dyn Launcher>> {
    use crate::ContainerRuntime::{Any, Crun as CrunAlone, Runc as RuncAlone};

    let crun = || -> Box<dyn Launcher> {
        Box::new(Crun {
            path: options.crun.clone(),
            has_extra_calls: !options.extra_calls.is_empty(),
        })
    };
    let runc = || -> Box<dyn Launcher> { Box::new(Runc(options.runc.clone())) };
    match options.runtime {
        Any => vec![crun(), runc()],
        CrunAlone => vec![crun()],
        RuncAlone => vec![runc()],
    }
}

/// Returns the runtimes of the class `gvisor`.
pub(crate) fn of_gvisor(options: &Options) -> Vec<Box<dyn Launcher>> {
    let with = |platform| -> Box<dyn Launcher> {
        Box::new(Runsc {
            path: options.runsc.clone(),
            platform,
        })
    };
    match options.platform {
        Platform::Systrap => vec![with(Platform::Systrap)],
        Platform::Kvm => vec![with(Platform::Kvm), with(Platform::Systrap)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_on_the_machine_is_told_with_its_package() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::new("");
        options.crun = folder.path().join("crun");
        options.runc = folder.path().join("runc");
        let crun = Lacking {
            name: "crun",
            package: "crun".to_owned(),
        };
        assert_eq!(lacking(&of_containers(&options)), Some(crun));
        std::fs::write(&options.runc, "").unwrap();
        assert_eq!(lacking(&of_containers(&options)), None);
    }

    #[test]
    fn runsc_is_taken_from_backports_where_the_release_has_an_old_one() {
        let of = |codename: &str| runsc_package(&format!("ID=debian\nVERSION_CODENAME={codename}\n"));
        assert_eq!(of("bookworm"), "runsc/bookworm-backports");
        assert_eq!(of("trixie"), "runsc");
    }
}
