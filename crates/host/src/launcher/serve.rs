//! The launcher's own side: one loop, one thread, one instance at a time.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::ExitCode,
};

use rustix::{
    buffer::spare_capacity,
    event::{PollFd, PollFlags, Timespec, poll},
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    pipe::{PipeFlags, pipe_with},
    process::Pid,
};

use super::{
    GUEST_ID,
    bundle::{self, Descriptors},
    channel, child,
    message::{Bundle, Command, Failure, Launch, Order, Ready, Reply, Request, Setup, Step},
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

/// The longest word from a child about what went wrong, in bytes.
const STATUS_BYTES_MAX: usize = 4096;

/// Runs a launcher whose socket is its standard input; returns when the other side closes it.
#[must_use]
pub fn run() -> ExitCode {
    // It was executed by a descriptor's number, which says nothing in a process list.
    let _ = rustix::thread::set_name(c"vulcan-launcher");
    // The kernel reaps what we start: nobody here asks how it ended.
    sys::set_signal_ignored(libc::SIGCHLD, true);
    match serve(io::stdin().as_fd()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut prepared = None;
    let mut spare = None;
    while let Some((request, fds)) = channel::receive::<Request>(socket)? {
        match request {
            Request::Setup(setup) => match prepare(&setup) {
                Ok(state) => {
                    let ready = Ready {
                        landlock_abi: landlock_abi(),
                    };
                    channel::send(socket, &Reply::Ready(ready), &[])?;
                    spare = setup.first.and_then(|first| Spare::make(&state, first).ok());
                    prepared = Some(state);
                }
                Err(failure) => channel::send(socket, &Reply::Failed(failure), &[])?,
            },
            Request::Launch(launch, command) => {
                match start(prepared.as_ref(), spare.take(), &launch, command, fds) {
                    Ok(started) => {
                        let reply = Reply::Launched {
                            pid: started.pid.as_raw_pid(),
                        };
                        channel::send(socket, &reply, &[started.pidfd.as_fd()])?;
                    }
                    Err(failure) => channel::send(socket, &Reply::Failed(failure), &[])?,
                }
                // After the answer, so that nobody waits for it, and for another instance of the same kind, which is what
                // most often comes next. What goes wrong here goes wrong again at the next launch, and is told then.
                spare = prepared
                    .as_ref()
                    .and_then(|prepared| Spare::make(prepared, launch).ok());
            }
            Request::Bundle(bundle) => match start_keeper(prepared.as_ref(), &bundle, fds) {
                Ok(started) => {
                    let reply = Reply::Launched {
                        pid: started.pid.as_raw_pid(),
                    };
                    channel::send(socket, &reply, &[started.pidfd.as_fd()])?;
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
    /// For bundles.
    users: Option<bundle::Users>,
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
    let users = match setup.id_count {
        Some(count) => Some(bundle::users(outer_id, count)?),
        None => None,
    };
    view::enter(setup)?;
    Ok(Prepared {
        filter,
        outer_id,
        users,
    })
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

/// A process in namespaces of its own, confined for one kind of instance, that waits for what to execute. It has run
/// nothing but this program.
///
/// Most of a start is the kernel making namespaces and compiling filters; having that done ahead takes it out of the
/// caller's wait.
struct Spare {
    kind: Launch,
    pid: Pid,
    pidfd: OwnedFd,
    orders: OwnedFd,
    status: OwnedFd,
}

/// A process that has become what it was told to.
struct Started {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Spare {
    fn make(prepared: &Prepared, kind: Launch) -> Result<Self, Failure> {
        let (orders, orders_child) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .step("make a socket pair")?;
        let (status, status_child) = pipe_with(PipeFlags::CLOEXEC).step("make a pipe")?;
        // SAFETY: the launcher never starts a thread.
        #[expect(unsafe_code, reason = "the child continues in a copy of this process")]
        let cloned = unsafe { sys::clone3(NAMESPACES) }.step("clone into new namespaces")?;
        match cloned {
            Cloned::Child => {
                drop((orders, status));
                child::run(&kind, &prepared.filter, &orders_child, &status_child)
            }
            Cloned::Parent { pid, pidfd } => {
                let spare = Self {
                    kind,
                    pid,
                    pidfd,
                    orders,
                    status,
                };
                map_ids(pid, prepared.outer_id)
                    .and_then(|()| spare.order(&Order::Prepare, &[]))
                    .inspect_err(|_| spare.kill())?;
                Ok(spare)
            }
        }
    }

    fn order(&self, order: &Order, fds: &[BorrowedFd<'_>]) -> Result<(), Failure> {
        channel::send(self.orders.as_fd(), order, fds).step("tell the child what to do")
    }

    fn execute(self, command: Option<Command>, fds: &[OwnedFd; 2]) -> Result<Started, Failure> {
        self.order(&Order::Execute(command), &[fds[0].as_fd(), fds[1].as_fd()])
            .and_then(|()| read_status(&self.status))
            .inspect_err(|_| self.kill())?;
        Ok(Started {
            pid: self.pid,
            pidfd: self.pidfd,
        })
    }

    /// Returns whether it will do for an instance, and kills it if it will not.
    fn is_fit_for(&self, launch: &Launch) -> bool {
        // The kernel may have killed it for want of memory.
        let is_fit = self.kind == *launch && self.is_alive();
        if !is_fit {
            self.kill();
        }
        is_fit
    }

    fn kill(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, rustix::process::Signal::KILL);
    }

    fn is_alive(&self) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready == 0)
    }
}

fn start(
    prepared: Option<&Prepared>,
    spare: Option<Spare>,
    launch: &Launch,
    command: Option<Command>,
    fds: Vec<OwnedFd>,
) -> Result<Started, Failure> {
    let refused = |step: &str| Failure {
        step: step.to_owned(),
        errno: 0,
    };
    let prepared = prepared.ok_or_else(|| refused("a launch before the setup"))?;
    let fds = <[OwnedFd; 2]>::try_from(fds).map_err(|_| refused("a launch without its two descriptors"))?;
    let spare = match spare.filter(|spare| spare.is_fit_for(launch)) {
        Some(spare) => spare,
        None => Spare::make(prepared, launch.clone())?,
    };
    spare.execute(command, &fds)
}

/// What a keeper has of its own; the rest it leaves to the runtime.
const KEEPER_NAMESPACES: libc::c_int =
    libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

fn start_keeper(prepared: Option<&Prepared>, bundle: &Bundle, fds: Vec<OwnedFd>) -> Result<Started, Failure> {
    let refused = |step: &str| Failure {
        step: step.to_owned(),
        errno: 0,
    };
    let users = prepared
        .and_then(|prepared| prepared.users.as_ref())
        .ok_or_else(|| refused("a bundle without a setup for bundles"))?;
    let fds = Descriptors::of(bundle, fds).ok_or_else(|| refused("a bundle without its descriptors"))?;
    let (status, status_child) = pipe_with(PipeFlags::CLOEXEC).step("make a pipe")?;
    // SAFETY: the launcher never starts a thread.
    #[expect(unsafe_code, reason = "the child continues in a copy of this process")]
    match unsafe { sys::clone3(KEEPER_NAMESPACES) }.step("clone into new namespaces")? {
        Cloned::Child => {
            drop(status);
            bundle::run(bundle, users, fds, status_child)
        }
        Cloned::Parent { pid, pidfd } => {
            drop((fds, status_child));
            read_status(&status)?;
            Ok(Started { pid, pidfd })
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
fn read_status(status: &OwnedFd) -> Result<(), Failure> {
    let mut text = Vec::new();
    loop {
        text.reserve(STATUS_BYTES_MAX);
        let read = rustix::io::retry_on_intr(|| rustix::io::read(status, spare_capacity(&mut text)));
        if read.step("hear from the child")? == 0 || text.len() >= STATUS_BYTES_MAX {
            break;
        }
    }
    if text.is_empty() {
        return Ok(());
    }
    Err(serde_json::from_slice(&text).unwrap_or(Failure {
        step: "the child gave an unreadable reason".to_owned(),
        errno: 0,
    }))
}
