//! The read-only view of the host that every instance of a launcher shares.
//!
//! ```text
//! /            tmpfs, read-only        /usr /bin /lib …   the host's, read-only, no set-uid, no devices
//! /etc         a handful of files      /dev               null zero full random urandom
//! /proc        hidden by each instance's own             /work /tmp /dev/shm   each instance's own
//! ```
//!
//! Nothing else of the host is mounted, so nothing else can be reached: no /home, /root, /var, /run, /sys.

use std::{
    ffi::CStr,
    fs,
    io::{self, Write as _},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{DirBuilderExt, symlink},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::CWD,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
        fsconfig_create, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount,
    },
};

use super::message::{Failure, Setup, Step, ViewFile};
use crate::sys;

/// Where the view is put together, in a mount namespace that nobody else sees.
const ASSEMBLY: &str = "/tmp";
/// Top-level names that hold programs and libraries; links on a merged-/usr system, folders elsewhere.
const PROGRAM_ROOTS: [&str; 8] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/usr/local",
];
/// What programs need of /etc, none of it secret. Missing ones are left out.
const ETC: [&str; 14] = [
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/python3",
    "/etc/python3.11",
    "/etc/mime.types",
    "/etc/protocols",
    "/etc/services",
    "/etc/debian_version",
    "/etc/os-release",
];
pub(super) const DEVICES: [&str; 5] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
];

/// Moves this process into a mount namespace of its own whose root is the view.
pub(super) fn enter(setup: &Setup) -> Result<(), Failure> {
    sys::unshare(rustix::thread::UnshareFlags::NEWNS).step("unshare the mount namespace")?;
    sys::mount_setattr_recursive(CWD, c"/", 0, libc::MS_PRIVATE).step("make all mounts private")?;

    // Taken before the assembly hides anything.
    let parts = parts(setup)?;
    let proc = open_tree(
        CWD,
        "/proc",
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE,
    )
    .step("take a copy of /proc")?;
    let root = new_tmpfs(&[("mode", "0755"), ("size", "1m")], MountAttrFlags::empty())
        .step("make the root of the view")?;
    attach(&root, ASSEMBLY).step("attach the root of the view")?;
    std::env::set_current_dir(ASSEMBLY).step("enter the view")?;
    umask_for_all();
    make_skeleton().step("make the folders of the view")?;
    for part in &parts {
        part.put()?;
    }
    for file in &setup.files {
        make_file(file).step(&format!("make {} of the view", file.at.display()))?;
    }
    // An instance may mount its own /proc only where one is visible already (kernel: mnt_already_visible).
    attach(&proc, "proc").step("attach /proc")?;
    rustix::process::pivot_root(".", ".").step("pivot into the view")?;
    unmount(".", UnmountFlags::DETACH).step("let go of the host's root")?;
    std::env::set_current_dir("/").step("enter the view's root")?;
    rustix::mount::mount_remount(
        "/",
        rustix::mount::MountFlags::BIND
            | rustix::mount::MountFlags::RDONLY
            | rustix::mount::MountFlags::NOSUID
            | rustix::mount::MountFlags::NODEV,
        c"",
    )
    .step("make the view read-only")
}

/// Makes a detached tmpfs.
pub(super) fn new_tmpfs(options: &[(&str, &str)], attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    fsconfig_create(context.as_fd())?;
    Ok(fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes,
    )?)
}

/// Attaches a detached mount.
pub(super) fn attach(mount: &OwnedFd, path: &str) -> io::Result<()> {
    move_mount(
        mount.as_fd(),
        "",
        CWD,
        path,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?;
    Ok(())
}

/// One thing of the host, and how it comes into the view.
enum Part {
    /// A link that stays one.
    Link { path: PathBuf, to: PathBuf },
    /// A mount, detached from where it was.
    Mount {
        path: PathBuf,
        is_dir: bool,
        mount: OwnedFd,
    },
}

fn parts(setup: &Setup) -> Result<Vec<Part>, Failure> {
    let fixed = PROGRAM_ROOTS
        .iter()
        .filter(|path| **path != "/usr/local")
        .chain(&ETC)
        .map(PathBuf::from);
    let under_their_names = fixed
        .chain(setup.readable.iter().cloned())
        .map(|path| (path.clone(), path));
    let placed = setup
        .placed
        .iter()
        .map(|placed| (placed.from.clone(), placed.at.clone()));
    let devices = DEVICES.iter().map(|device| (device.into(), device.into()));
    let of_files = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    let of_devices = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
    let files = under_their_names
        .chain(placed)
        .map(|(from, at)| (from, at, of_files));
    let devices = devices.map(|(from, at): (PathBuf, PathBuf)| (from, at, of_devices));
    let mut parts = Vec::new();
    for (from, at, attributes) in files.chain(devices) {
        let part = take(&from, at, attributes);
        parts.extend(part.step(&format!("take a copy of {}", from.display()))?);
    }
    Ok(parts)
}

/// Takes a copy of a path of the host, to be put somewhere in the view; `None` where there is none.
fn take(path: &Path, at: PathBuf, attributes: u64) -> io::Result<Option<Part>> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if metadata.is_symlink() {
        return Ok(Some(Part::Link {
            path: at,
            to: fs::read_link(path)?,
        }));
    }
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let mount = open_tree(CWD, path, flags)?;
    sys::mount_setattr_recursive(mount.as_fd(), c"", attributes, 0)?;
    Ok(Some(Part::Mount {
        path: at,
        is_dir: metadata.is_dir(),
        mount,
    }))
}

impl Part {
    /// Puts the part under the current folder, which is the view's root.
    fn put(&self) -> Result<(), Failure> {
        match self {
            Self::Link { path, to } => make_parent(path)
                .and_then(|()| symlink(to, relative(path)))
                .or_else(exists_already),
            Self::Mount { path, is_dir, mount } => make_parent(path)
                .and_then(|()| match is_dir {
                    true => fs::create_dir(relative(path)).or_else(exists_already),
                    false => fs::File::create(relative(path)).map(drop),
                })
                .and_then(|()| attach(mount, &relative(path).to_string_lossy())),
        }
        .step(&format!("put {} into the view", self.path().display()))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Link { path, .. } | Self::Mount { path, .. } => path,
        }
    }
}

fn exists_already(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::AlreadyExists {
        Ok(())
    } else {
        Err(error)
    }
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

fn make_parent(path: &Path) -> io::Result<()> {
    relative(path).parent().map_or(Ok(()), fs::create_dir_all)
}

fn make_file(file: &ViewFile) -> io::Result<()> {
    make_parent(&file.at)?;
    fs::File::create_new(relative(&file.at))?.write_all(file.text.as_bytes())
}

fn umask_for_all() {
    rustix::process::umask(rustix::fs::Mode::from_bits_retain(0o022));
}

fn make_skeleton() -> io::Result<()> {
    for dir in [
        "proc", "work", "tmp", "etc", "etc/ssl", "dev", "dev/shm", "run", "var", "scratch",
    ] {
        fs::DirBuilder::new().mode(0o755).create(dir)?;
    }
    let links = [
        ("/proc/self/fd", "dev/fd"),
        ("/proc/self/fd/0", "dev/stdin"),
        ("/proc/self/fd/1", "dev/stdout"),
        ("/proc/self/fd/2", "dev/stderr"),
        ("/tmp", "var/tmp"),
        ("/run", "var/run"),
    ];
    for (to, path) in links {
        symlink(to, path)?;
    }
    let files = [
        (
            "etc/passwd",
            "root:x:0:0:root:/:/usr/sbin/nologin\nvulcan:x:1000:1000:vulcan:/work:/bin/bash\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
        ),
        ("etc/group", "root:x:0:\nvulcan:x:1000:\nnogroup:x:65534:\n"),
        ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
        (
            "etc/nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\nprotocols: files\nservices: files\n",
        ),
        ("etc/resolv.conf", ""),
    ];
    for (path, content) in files {
        fs::File::create_new(path)?.write_all(content.as_bytes())?;
    }
    Ok(())
}

/// Returns the name under which the executable appears in the instance's process list.
pub(super) const fn agent_name() -> &'static CStr {
    c"vulcan-guest-agent"
}
