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
    fs::CWD,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, UnmountFlags, fsconfig_create, fsmount,
        fsopen, open_tree, unmount,
    },
};

use super::{
    CHANNEL_FD, GUEST_ID,
    message::{Failure, Launch, Step},
    view,
};
use crate::{
    restrict::{
        FilesystemRules, SyscallFilter, drop_privileges, restrict_filesystem, restrict_syscalls, set_limits,
    },
    sys,
};

/// What one child is to become.
pub(super) struct Job<'a> {
    pub(super) launch: &'a Launch,
    pub(super) filter: &'a SyscallFilter,
    pub(super) executable: OwnedFd,
    pub(super) guest_channel: OwnedFd,
}

/// Where the instance's writable space is mounted until its parts have their places.
const SCRATCH: &str = "/scratch";
/// The parts of the writable space: their names in it, and their places.
const SCRATCH_PARTS: [(&str, &str); 3] = [
    ("/scratch/work", "/work"),
    ("/scratch/tmp", "/tmp"),
    ("/scratch/shm", "/dev/shm"),
];

/// Becomes the executable. On failure tells why through `status`, and ends.
pub(super) fn run(job: &Job<'_>, go: fs::File, status: &OwnedFd) -> ! {
    let failure = become_agent(job, go);
    let text = serde_json::to_vec(&failure).unwrap_or_default();
    let _ = rustix::io::write(status, &text);
    sys::exit_now(1)
}

fn become_agent(job: &Job<'_>, go: fs::File) -> Failure {
    match prepare(job, go) {
        Ok(executable) => {
            let error = sys::execute(executable.as_fd(), view::agent_name());
            Err::<(), _>(error)
                .step("execute the guest agent")
                .expect_err("it is an error")
        }
        Err(failure) => failure,
    }
}

fn prepare(job: &Job<'_>, go: fs::File) -> Result<OwnedFd, Failure> {
    wait_for_ids(go)?;
    sys::set_signal_ignored(libc::SIGCHLD, false);
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .step("die with the launcher")?;
    rustix::process::setsid().step("start a session")?;
    // Keys that the caller of the server may hold. Where the kernel has no keyrings there is nothing to leave.
    let _ = sys::join_new_session_keyring();
    rustix::system::sethostname(job.launch.hostname.as_bytes()).step("set the host name")?;
    sys::bring_loopback_up().step("bring the loopback interface up")?;
    mount_proc().step("mount /proc")?;
    mount_scratch(job.launch)?;
    std::env::set_current_dir("/").step("change to the root")?;
    let executable = place_descriptors(job)?;

    set_limits(&job.launch.limits).step("set resource limits")?;
    drop_privileges().step("drop capabilities")?;
    restrict_filesystem(FilesystemRules {
        readable: &["/"],
        writable: &["/work", "/tmp", "/dev/shm"],
        devices: &view::DEVICES,
    })
    .step("restrict the file system")?;
    restrict_syscalls(job.filter).step("restrict system calls")?;
    Ok(executable)
}

/// Waits until the launcher has mapped the ids, and takes them.
fn wait_for_ids(mut go: fs::File) -> Result<(), Failure> {
    // Raised before the ids change hands; the launcher stays less attractive to the kernel's killer than any guest.
    const OOM_SCORE_ADJ: &str = "500";
    let mut byte = [0];
    std::io::Read::read_exact(&mut go, &mut byte).step("wait for the launcher")?;
    let _ = fs::File::options()
        .write(true)
        .open("/proc/self/oom_score_adj")
        .and_then(|mut file| file.write_all(OOM_SCORE_ADJ.as_bytes()));
    sys::set_ids(GUEST_ID, GUEST_ID).step("take the guest's ids")
}

fn mount_proc() -> std::io::Result<()> {
    let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    view::attach(&mount, "/proc")
}

/// Mounts one tmpfs and spreads it over the writable places: one quota for all of them.
fn mount_scratch(launch: &Launch) -> Result<(), Failure> {
    let size = launch.scratch_bytes.to_string();
    let inodes = launch.scratch_inodes.to_string();
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

/// Leaves /dev/null as 0, 1 and 2 and the channel as 3; everything else closes at the exec.
fn place_descriptors(job: &Job<'_>) -> Result<OwnedFd, Failure> {
    // Out of the way of the numbers that are about to be taken.
    let above = CHANNEL_FD + 1;
    let executable = rustix::io::fcntl_dupfd_cloexec(&job.executable, above).step("move the executable")?;
    let channel = rustix::io::fcntl_dupfd_cloexec(&job.guest_channel, above).step("move the channel")?;
    let null = fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .step("open /dev/null")?;
    let null = rustix::io::fcntl_dupfd_cloexec(&null, above).step("move /dev/null")?;
    rustix::stdio::dup2_stdin(&null).step("set standard input")?;
    rustix::stdio::dup2_stdout(&null).step("set standard output")?;
    rustix::stdio::dup2_stderr(&null).step("set standard error")?;
    sys::place_descriptor(channel.as_raw_fd(), CHANNEL_FD).step("set the channel")?;
    sys::close_on_exec_from(above).step("close everything else")?;
    Ok(executable)
}
