//! The launcher's own side: one loop, one thread, one instance at a time.

use std::{
    fs,
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::ExitCode,
};

use rustix::process::Pid;

use super::{
    GUEST_ID, channel, child,
    message::{Failure, Launch, Ready, Reply, Request, Setup, Step},
    view,
};
use crate::{
    restrict::{SyscallFilter, landlock_abi},
    sys::{self, Cloned},
};

/// Every namespace that Linux has, time excepted: an instance's clocks are the host's.
const NAMESPACES: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// Runs a launcher whose socket is its standard input; returns when the other side closes it.
#[must_use]
pub fn run() -> ExitCode {
    // The kernel reaps what we start: nobody here asks how it ended.
    sys::set_signal_ignored(libc::SIGCHLD, true);
    match serve(io::stdin().as_fd()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut prepared = None;
    while let Some((request, fds)) = channel::receive::<Request>(socket)? {
        match request {
            Request::Setup(setup) => match prepare(&setup) {
                Ok(state) => {
                    prepared = Some(state);
                    let ready = Ready {
                        landlock_abi: landlock_abi(),
                    };
                    channel::send(socket, &Reply::Ready(ready), &[])?;
                }
                Err(failure) => channel::send(socket, &Reply::Failed(failure), &[])?,
            },
            Request::Launch(launch) => match start(prepared.as_ref(), &launch, fds) {
                Ok((pid, pidfd)) => {
                    channel::send(
                        socket,
                        &Reply::Launched {
                            pid: pid.as_raw_pid(),
                        },
                        &[pidfd.as_fd()],
                    )?;
                }
                Err(failure) => channel::send(socket, &Reply::Failed(failure), &[])?,
            },
        }
    }
    Ok(())
}

/// What is made once and used by every child.
struct Prepared {
    filter: SyscallFilter,
    /// What the guest's ids are outside, as seen from the launcher's own user namespace.
    outer_id: u32,
}

fn prepare(setup: &Setup) -> Result<Prepared, Failure> {
    let filter = SyscallFilter::compile().step("compile the system call filter")?;
    let outer_id = if let Some(id) = setup.outer_id {
        sys::clear_groups().step("give up supplementary groups")?;
        id
    } else {
        enter_user_namespace()?;
        0
    };
    view::enter(&setup.readable)?;
    Ok(Prepared { filter, outer_id })
}

/// Becomes root of a user namespace that holds the caller only: an ordinary user may mount there.
fn enter_user_namespace() -> Result<(), Failure> {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    sys::unshare(rustix::thread::UnshareFlags::NEWUSER)
        .step("unshare the user namespace (are unprivileged user namespaces allowed here?)")?;
    fs::write("/proc/self/setgroups", "deny").step("deny setgroups")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).step("map the user id")?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).step("map the group id")
}

fn start(prepared: Option<&Prepared>, launch: &Launch, fds: Vec<OwnedFd>) -> Result<(Pid, OwnedFd), Failure> {
    let refused = |step: &str| Failure {
        step: step.to_owned(),
        errno: 0,
    };
    let prepared = prepared.ok_or_else(|| refused("a launch before the setup"))?;
    let [executable, guest_channel] =
        <[OwnedFd; 2]>::try_from(fds).map_err(|_| refused("a launch without its two descriptors"))?;
    let (go_read, go_write) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step("make a pipe")?;
    let (status_read, status_write) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step("make a pipe")?;
    // SAFETY: the launcher never starts a thread.
    #[expect(unsafe_code, reason = "the child continues in a copy of this process")]
    let cloned = unsafe { sys::clone3(NAMESPACES) }.step("clone into new namespaces")?;
    match cloned {
        Cloned::Child => {
            drop((go_write, status_read));
            let job = child::Job {
                launch,
                filter: &prepared.filter,
                executable,
                guest_channel,
            };
            child::run(&job, go_read.into(), &status_write)
        }
        Cloned::Parent { pid, pidfd } => {
            drop((go_read, status_write, executable, guest_channel));
            let started = map_ids(pid, prepared.outer_id)
                .and_then(|()| {
                    rustix::io::write(&go_write, b"1")
                        .step("let the child go")
                        .map(drop)
                })
                .and_then(|()| read_status(status_read));
            if let Err(failure) = started {
                let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
                return Err(failure);
            }
            Ok((pid, pidfd))
        }
    }
}

fn map_ids(pid: Pid, outer_id: u32) -> Result<(), Failure> {
    let pid = pid.as_raw_pid();
    let map = format!("{GUEST_ID} {outer_id} 1");
    fs::write(format!("/proc/{pid}/setgroups"), "deny").step("deny setgroups")?;
    fs::write(format!("/proc/{pid}/uid_map"), &map).step("map the user id")?;
    fs::write(format!("/proc/{pid}/gid_map"), &map).step("map the group id")
}

/// Waits until the child has become the executable: its end of the pipe closes without a word.
fn read_status(status: OwnedFd) -> Result<(), Failure> {
    let mut text = Vec::new();
    fs::File::from(status)
        .read_to_end(&mut text)
        .step("hear from the child")?;
    if text.is_empty() {
        return Ok(());
    }
    Err(serde_json::from_slice(&text).unwrap_or(Failure {
        step: "the child gave an unreadable reason".to_owned(),
        errno: 0,
    }))
}
