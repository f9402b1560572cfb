//! System calls that no crate wraps. The only unsafe code of this crate, one small function per call.
#![expect(unsafe_code, reason = "raw system calls")]

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use rustix::process::Pid;

/// What `clone3` takes (man 2 clone3, `struct clone_args`, version 0).
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

/// Which side of a `clone3` this is.
pub(crate) enum Cloned {
    /// The new process.
    Child,
    /// The caller, with the new process's id and descriptor.
    Parent { pid: Pid, pidfd: OwnedFd },
}

/// Makes a child process in new namespaces, with a copy of this process's memory.
///
/// # Safety
///
/// The process must have one thread only: the child has but the calling one, and locks that others held stay locked.
pub(crate) unsafe fn clone3(namespaces: libc::c_int) -> io::Result<Cloned> {
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: u64::from(namespaces.cast_unsigned()) | u64::from(libc::CLONE_PIDFD.cast_unsigned()),
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: u64::from(libc::SIGCHLD.cast_unsigned()),
        ..CloneArgs::default()
    };
    // SAFETY: `args` outlives the call and has the size that is given; without CLONE_VM and a stack this is a fork.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match result {
        0 => Ok(Cloned::Child),
        pid if pid > 0 => {
            let pid = i32::try_from(pid)
                .ok()
                .and_then(Pid::from_raw)
                .expect("the kernel returns a process id");
            // SAFETY: the kernel stored a descriptor there that nobody else has.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid, pidfd })
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// What `mount_setattr` takes (man 2 mount_setattr, `struct mount_attr`).
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Sets attributes (`libc::MOUNT_ATTR_…`) and propagation on a mount and all below it.
pub(crate) fn mount_setattr_recursive(
    dir: BorrowedFd<'_>,
    path: &CStr,
    set: u64,
    propagation: u64,
) -> io::Result<()> {
    let attr = MountAttr {
        attr_set: set,
        attr_clr: 0,
        propagation,
        userns_fd: 0,
    };
    let flags = libc::AT_RECURSIVE | libc::AT_EMPTY_PATH;
    // SAFETY: path and attr are valid for the call, and the size is that of attr.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets the user and the group that this thread touches files as; rights over files go with user id 0 (man 7 capabilities).
pub(crate) fn set_filesystem_ids(id: u32) {
    // SAFETY: both take a number and change this thread's credentials only. They report no failure: what is made with the
    // wrong id fails by itself.
    unsafe {
        libc::setfsgid(id);
        libc::setfsuid(id);
    }
}

/// Maps the ids of a mount that is attached nowhere yet as a user namespace does, and sets attributes (`libc::MOUNT_ATTR_…`).
pub(crate) fn mount_with_ids(mount: BorrowedFd<'_>, users: BorrowedFd<'_>, set: u64) -> io::Result<()> {
    let attr = MountAttr {
        attr_set: set | libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::try_from(users.as_raw_fd()).expect("an open descriptor is not negative"),
    };
    // SAFETY: path and attr are valid for the call, and the size is that of attr.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes every descriptor from `first` on close at the next exec.
pub(crate) fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    // SAFETY: no memory is involved; descriptors stay open until exec.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Closes every descriptor from `first` on, whoever owns it: for a process that uses none of them any more.
pub(crate) fn close_from(first: RawFd) {
    // SAFETY: no memory is involved. It fails on kernels alone that have no such call, and then they stay open.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
}

/// Replaces the process by the executable behind `fd`, without arguments beyond `name` and without an environment.
/// Returns only on failure.
pub(crate) fn execute(fd: BorrowedFd<'_>, name: &CStr) -> io::Error {
    let argv = [name.as_ptr(), std::ptr::null()];
    let envp = [std::ptr::null::<libc::c_char>()];
    // SAFETY: all pointers are to terminated strings and arrays that outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    io::Error::last_os_error()
}

/// Replaces the process by the executable at `path`. Returns only on failure.
pub(crate) fn execute_path(path: &str, argv: &[String], env: &[String]) -> io::Error {
    let terminated = |texts: &[String]| {
        texts
            .iter()
            .map(|text| CString::new(text.as_str()))
            .collect::<Result<Vec<_>, _>>()
    };
    let (Ok(path), Ok(argv), Ok(env)) = (CString::new(path), terminated(argv), terminated(env)) else {
        return io::ErrorKind::InvalidInput.into();
    };
    let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
        let texts = texts.iter().map(|text| text.as_ptr());
        texts.chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(&argv), pointers(&env));
    // SAFETY: all pointers are to terminated strings and arrays that outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends the process at once, without running destructors: for the child of a `clone3`.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: never returns and touches no memory of ours.
    unsafe { libc::_exit(code) }
}

/// Takes a group and a user id for good: real, effective and saved. One thread only.
pub(crate) fn set_ids(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: no memory is involved.
    let done = unsafe { libc::setresgid(gid, gid, gid) == 0 && libc::setresuid(uid, uid, uid) == 0 };
    if done {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Gives up all supplementary groups.
pub(crate) fn clear_groups() -> io::Result<()> {
    // SAFETY: a length of zero means that the pointer is not read.
    let result = unsafe { libc::setgroups(0, std::ptr::null()) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets what a signal does: the default, or nothing.
pub(crate) fn set_signal_ignored(signal: libc::c_int, is_ignored: bool) {
    let disposition = if is_ignored { libc::SIG_IGN } else { libc::SIG_DFL };
    // SAFETY: neither disposition runs code of ours.
    unsafe { libc::signal(signal, disposition) };
}

/// Starts a session keyring of its own, so that the caller's keys are out of reach (man 2 keyctl).
pub(crate) fn join_new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    let result = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_JOIN_SESSION_KEYRING,
            std::ptr::null::<libc::c_char>(),
        )
    };
    if result >= 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Brings the loopback interface of this network namespace up (man 7 netdevice).
pub(crate) fn bring_loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: an all-zero ifreq is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP).expect("IFF_UP is 1");
    // SAFETY: the request outlives the call and is what SIOCSIFFLAGS takes.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes `to` refer to what `from` does; it stays open at an exec.
pub(crate) fn place_descriptor(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: whatever `to` was is the caller's to give up: between clone and exec nobody uses it any more.
    let result = unsafe { libc::dup2(from, to) };
    if result == to {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Leaves the namespaces of the caller for new ones. One thread only.
pub(crate) fn unshare(namespaces: rustix::thread::UnshareFlags) -> io::Result<()> {
    // SAFETY: neither the descriptor table nor memory is unshared, so what other code holds stays valid.
    unsafe { rustix::thread::unshare_unsafe(namespaces) }?;
    Ok(())
}
