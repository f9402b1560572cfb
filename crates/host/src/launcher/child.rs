//! From the clone to the exec: what the first process of an instance does before it becomes the agent.
//!
//! Runs in a copy of the launcher's single thread, so that ordinary code is safe here. The order matters: mounts need
//! capabilities, Landlock and seccomp come after everything that they forbid.

use std::{
    fs,
    io::Write as _,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::CWD,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
        fsconfig_set_string, fsmount, fsopen, open_tree, unmount,
    },
};

use super::{
    CHANNEL_FD, GUEST_ID, channel,
    message::{Command, Failure, Launch, Order, Step},
    view,
};
use crate::{
    restrict::{
        FilesystemRules, SyscallFilter, drop_privileges, restrict_filesystem, restrict_syscalls, set_limits,
    },
    sys,
};

/// Where the instance's writable space is mounted until its parts have their places.
const SCRATCH: &str = "/scratch";
/// The parts of the writable space: their names in it, and their places.
const SCRATCH_PARTS: [(&str, &str); 3] = [
    ("/scratch/work", "/work"),
    ("/scratch/tmp", "/tmp"),
    ("/scratch/shm", "/dev/shm"),
];

/// Confines itself for one kind of instance, waits, and becomes the executable. On failure tells why through `status`, and
/// ends.
pub(super) fn run(kind: &Launch, filter: &SyscallFilter, orders: &OwnedFd, status: &OwnedFd) -> ! {
    // Out of the way of the number that the channel will have.
    let Ok(status) = rustix::io::fcntl_dupfd_cloexec(status, CHANNEL_FD + 1) else {
        sys::exit_now(1)
    };
    let failure = match prepare(kind, filter, orders).and_then(|()| take_program(orders)) {
        Ok(program) => become_program(&program),
        Err(failure) => failure,
    };
    let text = serde_json::to_vec(&failure).unwrap_or_default();
    let _ = rustix::io::write(&status, &text);
    sys::exit_now(1)
}

fn prepare(kind: &Launch, filter: &SyscallFilter, orders: &OwnedFd) -> Result<(), Failure> {
    take_ids(orders)?;
    sys::set_signal_ignored(libc::SIGCHLD, false);
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .step("die with the launcher")?;
    expect_launcher_lives(orders)?;
    rustix::process::setsid().step("start a session")?;
    // Keys that the caller of the server may hold. Where the kernel has no keyrings there is nothing to leave.
    let _ = sys::join_new_session_keyring();
    rustix::system::sethostname(kind.hostname.as_bytes()).step("set the host name")?;
    sys::bring_loopback_up().step("bring the loopback interface up")?;
    // Processes only: everything else in there tells about the host (man 5 proc, "subset=pid", since Linux 5.8).
    mount_proc(&[("subset", "pid")]).step("mount /proc")?;
    mount_scratch(kind)?;
    std::env::set_current_dir("/").step("change to the root")?;
    silence_standard_streams()?;
    confine(filter, kind)
}

/// What this process becomes; its descriptors are in their places.
enum Program {
    Descriptor(OwnedFd),
    Command(Command),
}

fn take_program(orders: &OwnedFd) -> Result<Program, Failure> {
    let (order, fds) = next_order(orders)?;
    match (order, <[OwnedFd; 2]>::try_from(fds)) {
        (Order::Execute(None), Ok([executable, channel])) => {
            place_channel(executable, channel).map(Program::Descriptor)
        }
        (Order::Execute(Some(command)), Ok([channel, stderr])) => {
            place_streams(&channel, &stderr)?;
            Ok(Program::Command(command))
        }
        (Order::Execute(_) | Order::Prepare, _) => Err(out_of_turn()),
    }
}

/// Returns only on failure.
fn become_program(program: &Program) -> Failure {
    let (what, error) = match program {
        Program::Descriptor(executable) => (
            "execute the guest agent".to_owned(),
            sys::execute(executable.as_fd(), view::agent_name()),
        ),
        Program::Command(command) => (
            format!("execute {}", command.path),
            sys::execute_path(&command.path, &command.argv, &command.env),
        ),
    };
    Err::<(), _>(error).step(&what).expect_err("it is an error")
}

/// Gives up everything that foreign code must not have. The last thing before the exec.
fn confine(filter: &SyscallFilter, launch: &Launch) -> Result<(), Failure> {
    set_limits(&launch.limits).step("set resource limits")?;
    drop_privileges().step("drop capabilities")?;
    restrict_filesystem(FilesystemRules {
        readable: &["/"],
        writable: &["/work", "/tmp", "/dev/shm"],
        devices: &view::DEVICES,
    })
    .step("restrict the file system")?;
    restrict_syscalls(filter).step("restrict system calls")
}

fn next_order(orders: &OwnedFd) -> Result<(Order, Vec<OwnedFd>), Failure> {
    channel::receive(orders)
        .step("hear from the launcher")?
        .ok_or_else(|| Failure {
            step: "the launcher is gone".to_owned(),
            errno: 0,
        })
}

/// Fails if the launcher died before its death became a signal. A process closes its sockets before it is mourned.
pub(super) fn expect_launcher_lives(orders: &impl AsFd) -> Result<(), Failure> {
    let mut fds = [PollFd::new(orders, PollFlags::empty())];
    let ready = poll(&mut fds, Some(&Timespec::default())).step("look after the launcher")?;
    if ready == 0 {
        Ok(())
    } else {
        Err(Failure {
            step: "the launcher is gone".to_owned(),
            errno: 0,
        })
    }
}

fn out_of_turn() -> Failure {
    Failure {
        step: "an order out of turn".to_owned(),
        errno: 0,
    }
}

/// Waits until the launcher has mapped the ids, and takes them.
fn take_ids(orders: &OwnedFd) -> Result<(), Failure> {
    // The launcher stays less attractive to the kernel's out-of-memory killer than any guest.
    const OOM_SCORE_ADJ: &str = "500";
    let (Order::Prepare, _) = next_order(orders)? else {
        return Err(out_of_turn());
    };
    let _ = fs::File::options()
        .write(true)
        .open("/proc/self/oom_score_adj")
        .and_then(|mut file| file.write_all(OOM_SCORE_ADJ.as_bytes()));
    sys::set_ids(GUEST_ID, GUEST_ID).step("take the guest's ids")
}

/// Mounts a /proc of this process' namespaces.
pub(super) fn mount_proc(options: &[(&str, &str)]) -> std::io::Result<()> {
    let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    view::attach(&mount, "/proc")
}

/// Mounts one tmpfs and spreads it over the writable places: one quota for all of them.
fn mount_scratch(kind: &Launch) -> Result<(), Failure> {
    let size = kind.scratch_bytes.to_string();
    let inodes = kind.scratch_inodes.to_string();
    let id = GUEST_ID.to_string();
    let options = [
        ("size", size.as_str()),
        ("nr_inodes", &inodes),
        ("mode", "0755"),
        ("uid", &id),
        ("gid", &id),
    ];
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mount = view::new_tmpfs(&options, attributes).step("make the writable space")?;
    view::attach(&mount, SCRATCH).step("attach the writable space")?;
    for (from, to) in SCRATCH_PARTS {
        fs::create_dir(from).step("make a folder of the writable space")?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let part = open_tree(CWD, from, flags).step("take a part of the writable space")?;
        view::attach(&part, to).step("attach a part of the writable space")?;
    }
    unmount(SCRATCH, UnmountFlags::DETACH).step("detach the writable space")
}

fn silence_standard_streams() -> Result<(), Failure> {
    let null = fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .step("open /dev/null")?;
    let null = rustix::io::fcntl_dupfd_cloexec(&null, CHANNEL_FD + 1).step("move /dev/null")?;
    rustix::stdio::dup2_stdin(&null).step("set standard input")?;
    rustix::stdio::dup2_stdout(&null).step("set standard output")?;
    rustix::stdio::dup2_stderr(&null).step("set standard error")
}

/// Leaves the channel as 3 beside the standard streams; everything else closes at the exec.
///
/// Nobody may own a descriptor with that number when this is called: dropping it later would close ours.
fn place_channel(executable: OwnedFd, guest_channel: OwnedFd) -> Result<OwnedFd, Failure> {
    let above = CHANNEL_FD + 1;
    let moved = |fd: OwnedFd| rustix::io::fcntl_dupfd_cloexec(&fd, above);
    let executable = moved(executable).step("move the executable")?;
    let channel = moved(guest_channel).step("move the channel")?;
    sys::place_descriptor(channel.as_raw_fd(), CHANNEL_FD).step("set the channel")?;
    sys::close_on_exec_from(above).step("close everything else")?;
    Ok(executable)
}

/// Leaves the channel as standard input and output beside standard error; everything else closes at the exec.
fn place_streams(channel: &OwnedFd, stderr: &OwnedFd) -> Result<(), Failure> {
    rustix::stdio::dup2_stdin(channel).step("set standard input")?;
    rustix::stdio::dup2_stdout(channel).step("set standard output")?;
    rustix::stdio::dup2_stderr(stderr).step("set standard error")?;
    sys::close_on_exec_from(CHANNEL_FD).step("close everything else")
}
