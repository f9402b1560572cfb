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

/// A runtime that starts the instance of a bundle.
pub(crate) trait Launcher: Send + Sync + std::fmt::Debug {
    /// Its name, for people.
    fn name(&self) -> &'static str;
    /// Where it is.
    fn path(&self) -> &Path;
    /// How to get it.
    fn remedy(&self) -> &'static str;
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
