//! Slots: what is made ahead of an instance and outlives it.

use std::{
    any::Any,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, OnceLock},
};

use tokio::io::unix::AsyncFd;
use vulcan_host::{
    cgroup::{Group, GroupUsage, Limits, Tree},
    launcher::{Launch, LaunchError, Launched, Launcher, Placed, Program, Ready, Setup, ViewFile},
    process::parent_of,
};

use crate::watch;

/// A launcher process parked in a cgroup of its own. Dropping it kills what runs in it, and leaves the cgroup:
/// see [`Slot::dispose`].
#[derive(Debug)]
pub(crate) struct Slot {
    /// Its number; no two slots that live have the same.
    pub(crate) number: u32,
    /// What the launcher found on the host.
    pub(crate) ready: Ready,
    launcher: AsyncFd<Launcher>,
    group: Option<Group>,
    /// What the instance needs until nothing of it is left.
    pub(crate) holds: Option<Box<dyn Any + Send + Sync>>,
}

/// What the view of all instances of a pool has beside what every view has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ViewParts {
    /// Folders and files of the host, under other names.
    pub placed: Vec<Placed>,
    /// Files that are nowhere on the host; all together at most some 60 KB.
    pub files: Vec<ViewFile>,
}

/// What all slots of a backend have in common.
#[derive(Debug)]
pub(crate) struct SlotPlan {
    pub(crate) tree: Tree,
    /// The launcher's executable, in memory.
    pub(crate) launcher: OwnedFd,
    pub(crate) readable: Vec<std::path::PathBuf>,
    pub(crate) view: OnceLock<ViewParts>,
    /// The first user id of slot 0, as root.
    pub(crate) outer_id_first: Option<u32>,
    /// How many user ids the instances of a slot have, where they are bundles.
    pub(crate) bundle_ids: Option<u32>,
    /// What the first instance of a slot most likely is; not for bundles.
    pub(crate) first: Option<Launch>,
}

impl SlotPlan {
    /// Returns the first user id on the host of a slot's instances, as root; numbers that no host has where there are too many.
    pub(crate) fn outer_id(&self, number: u32) -> Option<u32> {
        let count = self.bundle_ids.unwrap_or(1);
        self.outer_id_first
            .map(|first| first.saturating_add(number.saturating_mul(count)))
    }
}

impl Slot {
    /// Makes a slot. Takes some ten milliseconds, most of it waiting for the kernel to attach a process to a cgroup.
    ///
    /// When it fails, or is dropped in the middle, nothing is left but perhaps an empty cgroup, which the next slot of the
    /// same number takes over.
    pub(crate) async fn make(plan: Arc<SlotPlan>, number: u32) -> Result<Self, LaunchError> {
        let view = plan.view.get().cloned().unwrap_or_default();
        let setup = Setup {
            readable: plan.readable.clone(),
            placed: view.placed,
            files: view.files,
            outer_id: plan.outer_id(number),
            first: plan.first.clone(),
            id_count: plan.bundle_ids,
        };
        let (launcher, group) = tokio::task::spawn_blocking(move || park(&plan, number))
            .await
            .map_err(|_| LaunchError::Gone)??;
        let launcher = watch::readable(launcher).map_err(LaunchError::Unreachable)?;
        launcher.get_ref().send_setup(setup)?;
        let ready = answer(&launcher, Launcher::try_ready).await?;
        Ok(Self {
            number,
            ready,
            launcher,
            group,
            holds: None,
        })
    }

    /// Sets the limits of the next instance, and starts measuring it. A few writes to the kernel: no blocking to speak of.
    pub(crate) fn begin(&mut self, limits: &Limits) -> io::Result<()> {
        self.group.as_mut().map_or(Ok(()), |group| group.begin(limits))
    }

    /// Starts a process in the slot.
    pub(crate) async fn launch(
        &self,
        launch: Launch,
        program: Program<'_>,
        channel: OwnedFd,
    ) -> Result<Launched, LaunchError> {
        self.launcher
            .get_ref()
            .send_launch(launch, program, channel.as_fd())?;
        drop(channel);
        answer(&self.launcher, Launcher::try_launched).await
    }

    /// Returns what was used since [`Slot::begin`]; `None` without cgroups.
    pub(crate) fn usage(&self) -> io::Result<Option<GroupUsage>> {
        self.group.as_ref().map(Group::usage).transpose()
    }

    /// Returns whether nothing but the launcher and its spare is left, so that another instance may start here.
    pub(crate) fn is_clean(&self) -> bool {
        let launcher = self.launcher.get_ref().pid();
        let is_ours = |pid: &u32| *pid == launcher || parent_of(*pid) == Some(launcher);
        self.group
            .as_ref()
            .is_none_or(|group| group.pids().is_ok_and(|pids| pids.iter().all(is_ours)))
    }

    /// Kills what runs here, and removes the cgroup. Blocks for up to two seconds.
    pub(crate) fn dispose(self) -> io::Result<()> {
        drop(self.launcher);
        let removed = self.group.map_or(Ok(()), |group| group.remove());
        drop(self.holds);
        removed
    }
}

/// Starts a launcher and attaches it to its cgroup before it does anything.
fn park(plan: &SlotPlan, number: u32) -> Result<(Launcher, Option<Group>), LaunchError> {
    let step = |step: &str, source| LaunchError::Step {
        step: step.to_owned(),
        source: Some(source),
    };
    let launcher = Launcher::start(plan.launcher.as_fd())?;
    let group = plan
        .tree
        .create(&format!("slot-{number}"))
        .map_err(|error| step("make a cgroup", error))?;
    if let Some(group) = &group
        && let Err(error) = group.attach(launcher.pid())
    {
        drop(launcher);
        // The first error is the one that tells what is wrong.
        let _ = group.remove();
        return Err(step("attach the launcher to its cgroup", error));
    }
    Ok((launcher, group))
}

/// Waits for a launcher's answer. Cancel-safe: an answer that was not taken is still there.
async fn answer<T>(
    launcher: &AsyncFd<Launcher>,
    take: impl Fn(&Launcher) -> Result<Option<T>, LaunchError>,
) -> Result<T, LaunchError> {
    loop {
        let mut guard = launcher.readable().await.map_err(LaunchError::Unreachable)?;
        match take(launcher.get_ref())? {
            Some(answer) => return Ok(answer),
            None => guard.clear_ready(),
        }
    }
}
