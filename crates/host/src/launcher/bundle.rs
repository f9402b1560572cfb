//! Instances that a container runtime starts: the process that prepares the bundle, starts the runtime, and keeps what it left.
//!
//! ```text
//! launcher ── clone3: pid, mount, net, ipc, uts namespaces ──▶ keeper, process 1 of them
//!    /scratch          tmpfs that nobody else sees: bundle, the runtime's state, mount points
//!    /scratch/root     overlayfs: the upper folder over the layers
//!    └─ runtime: starts the instance and ends ─▶ the keeper reaps until nothing is left, and ends
//! ```
//!
//! All of it is in the keeper's namespaces, in the slot's control group, and below the view: killing the keeper ends runtime
//! and instance, and with its mount namespace every mount, the bundle and the runtime's state are gone. The host's file system
//! takes no part. The runtime sees of the host what every instance sees, so that what it leaks is little.
//!
//! Where instances have user ids of their own, layers and upper folder are mounted with these ids mapped (man 2 mount_setattr,
//! MOUNT_ATTR_IDMAP; under overlayfs since Linux 5.19), so that files keep the image's ids on disk.

use std::{
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::{DirBuilderExt, chown, symlink},
    },
};

use rustix::{
    fs::CWD,
    mount::{MountAttrFlags, MountFlags, OpenTreeFlags, mount, open_tree},
    process::{Pid, WaitOptions},
    thread::CapabilitySet,
};

use super::{
    CHANNEL_FD,
    child::{expect_launcher_lives, mount_proc},
    message::{Bundle, BundleUpper, Command, Failure, Step},
    view,
};
use crate::sys::{self, Cloned};

/// The most layers of a root; overlayfs takes 500, and image builders make no more than 127.
pub const LAYERS_MAX: usize = 130;
/// The folder of the bundle, for the runtime's arguments.
pub const BUNDLE: &str = "/scratch/bundle";
/// The folder of the runtime's state, for its arguments.
pub const STATE: &str = "/scratch/state";
/// The root file system, for the configuration.
pub const ROOT: &str = "/scratch/root";
/// The folder for shared memory, for a mount of the configuration.
pub const SHARED_MEMORY: &str = "/scratch/shm";
/// The folder for temporary files, for a mount of the configuration where the runtime would hide that of the root.
pub const TEMPORARY: &str = "/scratch/tmp";
/// A minimal `/dev`, for a mount of the configuration.
pub const DEVICES: &str = "/scratch/dev";

/// What a configuration says for the first of the instance's ids on the host, which only the slot knows; it is nobody's
/// number (man 2 setreuid).
pub const HOST_ID: u32 = u32::MAX;

const OOM_SCORE_ADJ: &str = "500";
const SCRATCH: &str = "/scratch";
/// Room for the bundle and the runtime's state.
const SCRATCH_BYTES: u64 = 16 * 1024 * 1024;
/// Room for each folder in memory where the upper folder is on the host's disk.
const IN_MEMORY_BYTES: u64 = 64 * 1024 * 1024;

/// What comes with a bundle.
pub(super) struct Descriptors {
    pub(super) channel: OwnedFd,
    pub(super) stderr: OwnedFd,
    /// From the top down.
    pub(super) layers: Vec<OwnedFd>,
    pub(super) upper: Option<OwnedFd>,
}

impl Descriptors {
    pub(super) fn of(bundle: &Bundle, fds: Vec<OwnedFd>) -> Option<Self> {
        let mut fds = fds.into_iter();
        let (channel, stderr) = (fds.next()?, fds.next()?);
        let mut layers: Vec<OwnedFd> = fds.collect();
        let upper = match bundle.upper {
            BundleUpper::Memory { .. } => None,
            BundleUpper::Folder { .. } => Some(layers.pop()?),
        };
        let is_enough = !layers.is_empty() && layers.len() <= LAYERS_MAX;
        is_enough.then_some(Self {
            channel,
            stderr,
            layers,
            upper,
        })
    }
}

/// The ids of a slot's instances.
pub(super) struct Users {
    /// The host's id of the instance's user 0.
    pub(super) outer_first: u32,
    /// A user namespace that maps them.
    pub(super) namespace: OwnedFd,
}

/// Makes a user namespace that maps `count` ids from `outer_first` on, for mounts.
pub(super) fn users(outer_first: u32, count: u32) -> Result<Users, Failure> {
    // SAFETY: the launcher never starts a thread.
    #[expect(unsafe_code, reason = "the child waits in a copy of this process")]
    let cloned = unsafe { sys::clone3(libc::CLONE_NEWUSER) }.step("make a user namespace for mounts")?;
    let (pid, pidfd) = match cloned {
        Cloned::Child => {
            // It is killed as soon as it was looked at; whatever else happens ends it too.
            let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
            loop {
                rustix::event::pause();
            }
        }
        Cloned::Parent { pid, pidfd } => (pid.as_raw_pid(), pidfd),
    };
    let map = format!("0 {outer_first} {count}");
    let namespace = fs::write(format!("/proc/{pid}/uid_map"), &map)
        .and_then(|()| fs::write(format!("/proc/{pid}/gid_map"), &map))
        .and_then(|()| fs::File::open(format!("/proc/{pid}/ns/user")));
    let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
    Ok(Users {
        outer_first,
        namespace: namespace.step("map the user ids of mounts")?.into(),
    })
}

/// Prepares the bundle, starts the runtime, says through `status` that this is done, and stays until nothing is left.
pub(super) fn run(bundle: &Bundle, users: &Users, fds: Descriptors, status: OwnedFd) -> ! {
    let started = prepare(bundle, users, &fds, &status).and_then(|()| start(&bundle.runtime, &fds));
    match started {
        Ok(runtime) => {
            // The channel among them: it is the instance's alone, so that its end is seen.
            drop((fds, status));
            sys::close_from(CHANNEL_FD);
            keep(runtime)
        }
        Err(failure) => {
            let text = serde_json::to_vec(&failure).unwrap_or_default();
            let _ = rustix::io::write(&status, &text);
            sys::exit_now(1)
        }
    }
}

fn prepare(bundle: &Bundle, users: &Users, fds: &Descriptors, status: &OwnedFd) -> Result<(), Failure> {
    // The launcher's has its children reaped by the kernel; here is somebody who counts them.
    sys::set_signal_ignored(libc::SIGCHLD, false);
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .step("die with the launcher")?;
    expect_launcher_lives(status)?;
    // It was the server's socket, which only the launcher is to have.
    silence_input()?;
    rustix::process::setsid().step("start a session")?;
    // Where the kernel has no keyrings there is nothing to leave.
    let _ = sys::join_new_session_keyring();
    rustix::system::sethostname(bundle.hostname.as_bytes()).step("set the host name")?;
    raise_oom_score();
    sys::bring_loopback_up().step("bring the loopback interface up")?;
    mount_proc(&[]).step("mount /proc")?;
    for folder in &bundle.hidden {
        put_tmpfs(folder, &[("size", "4k"), ("mode", "0555")]).step(&format!("hide {folder}"))?;
    }
    put_tmpfs(SCRATCH, &[("size", &SCRATCH_BYTES.to_string()), ("mode", "0711")])
        .step("mount the scratch space")?;
    std::env::set_current_dir(SCRATCH).step("enter the scratch space")?;
    make_folders().step("make the folders of the bundle")?;
    let upper = mount_upper(bundle, users, fds.upper.as_ref())?;
    mount_root(users, &fds.layers, &upper)?;
    let config = bundle
        .config
        .replace(&HOST_ID.to_string(), &users.outer_first.to_string());
    fs::write("bundle/config.json", config).step("write the bundle's configuration")?;
    std::env::set_current_dir("/").step("change to the root")
}

/// Has instances go before the server when memory runs out. Only with the right that makes it final: everybody else could lower
/// what is raised now, and nobody can lower what they began with (kernel: fs/proc/base.c, __set_oom_adj).
fn raise_oom_score() {
    let capabilities = rustix::thread::capabilities(None);
    if capabilities.is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_RESOURCE)) {
        // Where it cannot be raised, the kernel chooses by size.
        let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ);
    }
}

fn silence_input() -> Result<(), Failure> {
    let null = fs::File::open("/dev/null").step("open /dev/null")?;
    rustix::stdio::dup2_stdin(&null).step("set standard input")
}

fn put_tmpfs(path: &str, options: &[(&str, &str)]) -> io::Result<()> {
    view::attach(
        &view::new_tmpfs(options, MountAttrFlags::MOUNT_ATTR_NOSUID)?,
        path,
    )
}

fn put_tmpfs_without_devices(path: &str, options: &[(&str, &str)]) -> io::Result<()> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    view::attach(&view::new_tmpfs(options, attributes)?, path)
}

fn make_folders() -> io::Result<()> {
    for folder in ["bundle", "state", "root", "upper", "shm", "tmp", "layers"] {
        fs::create_dir(folder)?;
    }
    make_devices()
}

fn make_folder(path: &str, mode: u32, owner: u32) -> io::Result<()> {
    fs::DirBuilder::new().mode(mode & 0o777).create(path)?;
    chown(path, Some(owner), Some(owner))?;
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
}

/// Makes the few devices that every program may have (linux/major.h, devices.txt).
fn make_devices() -> io::Result<()> {
    use rustix::fs::{FileType, Mode, makedev, mknodat};

    const DEVICES: [(&str, u32); 5] = [
        ("null", 3),
        ("zero", 5),
        ("full", 7),
        ("random", 8),
        ("urandom", 9),
    ];
    const LINKS: [(&str, &str); 4] = [
        ("/proc/self/fd", "dev/fd"),
        ("/proc/self/fd/0", "dev/stdin"),
        ("/proc/self/fd/1", "dev/stdout"),
        ("/proc/self/fd/2", "dev/stderr"),
    ];
    fs::create_dir("dev")?;
    fs::create_dir("dev/shm")?;
    for (name, minor) in DEVICES {
        let path = format!("dev/{name}");
        let mode = Mode::from_raw_mode(0o666);
        mknodat(CWD, &path, FileType::CharacterDevice, mode, makedev(1, minor))?;
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    }
    for (to, path) in LINKS {
        symlink(to, path)?;
    }
    Ok(())
}

/// The two folders that overlayfs writes to.
struct UpperPlace {
    upper: String,
    work: String,
    /// Whom overlayfs works as: on a mount with mapped ids only those that the map knows can make anything.
    acts_as: Option<u32>,
}

/// Mounts what changes go to, and the folders that are no part of the root: parts of the same space where that is memory.
fn mount_upper(bundle: &Bundle, users: &Users, folder: Option<&OwnedFd>) -> Result<UpperPlace, Failure> {
    match (&bundle.upper, folder) {
        (BundleUpper::Memory { bytes, inodes }, None) => {
            let options = [("size", bytes.to_string()), ("nr_inodes", inodes.to_string())];
            let options: Vec<(&str, &str)> = options
                .iter()
                .map(|(key, value)| (*key, value.as_str()))
                .collect();
            put_tmpfs_without_devices("upper", &options).step("make the writable space")?;
            for (part, place) in [("upper/shm", "shm"), ("upper/tmp", "tmp")] {
                make_folder(part, 0o1777, users.outer_first).step("make a part of the writable space")?;
                let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
                let part = open_tree(CWD, part, flags).step("take a part of the writable space")?;
                view::attach(&part, place).step("attach a part of the writable space")?;
            }
            make_folder("upper/upper", 0o755, users.outer_first).step("make the upper folder")?;
            fs::create_dir("upper/work").step("make overlayfs' folder")?;
            Ok(UpperPlace {
                upper: "upper/upper".to_owned(),
                work: "upper/work".to_owned(),
                acts_as: None,
            })
        }
        (BundleUpper::Folder { name, work }, Some(folder)) => {
            let size = IN_MEMORY_BYTES.to_string();
            for place in ["shm", "tmp"] {
                put_tmpfs_without_devices(place, &[("size", &size), ("mode", "1777")])
                    .step("make a part in memory")?;
            }
            sys::mount_with_ids(folder.as_fd(), users.namespace.as_fd(), 0)
                .step("map the ids of the upper folder")?;
            view::attach(folder, "upper").step("attach the upper folder")?;
            Ok(UpperPlace {
                upper: format!("upper/{name}"),
                work: format!("upper/{work}"),
                acts_as: Some(users.outer_first),
            })
        }
        (BundleUpper::Memory { .. }, Some(_)) | (BundleUpper::Folder { .. }, None) => Err(Failure {
            step: "a bundle with another upper folder than it says".to_owned(),
            errno: 0,
        }),
    }
}

/// Mounts the root. Names are short and relative, since all of them must fit one page (man 2 mount).
fn mount_root(users: &Users, layers: &[OwnedFd], place: &UpperPlace) -> Result<(), Failure> {
    let mut lower = Vec::with_capacity(layers.len());
    for (number, layer) in layers.iter().enumerate() {
        let name = format!("layers/{number}");
        fs::create_dir(&name).step("make a folder for a layer")?;
        sys::mount_with_ids(layer.as_fd(), users.namespace.as_fd(), libc::MOUNT_ATTR_RDONLY)
            .step("map the ids of a layer (needs Linux 5.19 and a file system that can)")?;
        view::attach(layer, &name).step("attach a layer")?;
        lower.push(name);
    }
    let UpperPlace { upper, work, acts_as } = place;
    // Nothing of it is to survive a crash of the host: no syncing. An upper folder of a build is synced by its owner.
    let data = format!(
        "lowerdir={},upperdir={upper},workdir={work},index=off,metacopy=off,volatile",
        lower.join(":")
    );
    let data = std::ffi::CString::new(data).step("name the layers")?;
    acting_as(*acts_as, || {
        mount("overlay", "root", "overlay", MountFlags::NODEV, data.as_c_str())
    })
    .step("mount the root")
}

/// Does something with the file ids of somebody else and the capabilities that there are. overlayfs remembers the credentials
/// of its mount for everything that it makes by itself: its working folder, whiteouts, copies.
fn acting_as(id: Option<u32>, act: impl FnOnce() -> rustix::io::Result<()>) -> rustix::io::Result<()> {
    let Some(id) = id else {
        return act();
    };
    let capabilities = rustix::thread::capabilities(None)?;
    sys::set_filesystem_ids(id);
    // Another user id takes the effective ones over files away; they are permitted still.
    let acted = rustix::thread::set_capabilities(None, capabilities).and_then(|()| act());
    sys::set_filesystem_ids(0);
    rustix::thread::set_capabilities(None, capabilities)?;
    acted
}

fn start(runtime: &Command, fds: &Descriptors) -> Result<Pid, Failure> {
    // SAFETY: the keeper has one thread, like the launcher that it is a copy of.
    #[expect(unsafe_code, reason = "the child continues in a copy of this process")]
    let cloned = unsafe { sys::clone3(0) }.step("make a process for the runtime")?;
    match cloned {
        Cloned::Child => {
            let failure = become_runtime(runtime, fds);
            // The server reads it where it would read the runtime's own words.
            let text = format!(
                "{}: {}",
                failure.step,
                io::Error::from_raw_os_error(failure.errno)
            );
            let _ = rustix::io::write(&fds.stderr, text.as_bytes());
            sys::exit_now(1)
        }
        Cloned::Parent { pid, .. } => Ok(pid),
    }
}

/// Returns only on failure.
fn become_runtime(runtime: &Command, fds: &Descriptors) -> Failure {
    let placed = || {
        // Above all numbers that are given out below.
        let above = CHANNEL_FD + 1;
        let channel = rustix::io::fcntl_dupfd_cloexec(&fds.channel, above).step("move the channel")?;
        rustix::stdio::dup2_stderr(&fds.stderr).step("set standard error")?;
        let null = fs::File::options()
            .write(true)
            .open("/dev/null")
            .step("open /dev/null")?;
        rustix::stdio::dup2_stdout(&null).step("set standard output")?;
        sys::place_descriptor(channel.as_raw_fd(), CHANNEL_FD).step("set the channel")?;
        sys::close_on_exec_from(above).step("close everything else")?;
        // Whatever owned a descriptor of this number must not close it.
        std::mem::forget(channel);
        Err::<(), _>(sys::execute_path(&runtime.path, &runtime.argv, &runtime.env))
            .step(&format!("execute {}", runtime.path))
    };
    placed().expect_err("a process that became another does not come back")
}

/// Reaps until nothing is left. A runtime that fails has started nothing that may stay.
fn keep(runtime: Pid) -> ! {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == runtime && status.exit_status() != Some(0) => sys::exit_now(1),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => sys::exit_now(0),
        }
    }
}
