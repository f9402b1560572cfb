//! The system calls that have no safe wrapper: signals, waiting and spawning.

#![expect(
    unsafe_code,
    reason = "signals and posix_spawn have no safe wrapper in rustix or std"
)]

use std::{
    ffi::{CStr, CString},
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

use vulcan_guest_protocol::ExitStatus;

/// Takes the protocol's stream, and keeps it from programs.
pub(crate) fn take_stream(fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: fcntl on a number is harmless whatever it refers to.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, was handed to this process for this purpose, and nothing else here owns it.
    let stream = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&stream, rustix::io::FdFlags::CLOEXEC)?;
    Ok(stream)
}

/// Turns SIGCHLD into something to poll.
pub(crate) fn child_events() -> io::Result<OwnedFd> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set before it is read; all pointers are valid for the calls.
    let fd = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut());
        libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: signalfd just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal to a process, with a negative id to its group, with -1 to all others.
pub(crate) fn kill(target: i32, signal: i32) {
    // SAFETY: kill takes no pointers. A target that is gone is what the caller wants.
    unsafe { libc::kill(target, signal) };
}

/// Returns an ended child without forgetting it, so that its group's id is not given to another one.
pub(crate) fn ended_child() -> Option<i32> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: info is valid for writes, and all zeroes are a valid siginfo_t.
    let (status, pid) = unsafe {
        let status = libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), flags);
        (status, info.assume_init().si_pid())
    };
    (status == 0 && pid > 0).then_some(pid)
}

/// Returns whether a child has ended, without forgetting it.
pub(crate) fn has_ended(pid: i32) -> bool {
    let Ok(id) = libc::id_t::try_from(pid) else {
        return true;
    };
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: info is valid for writes, and all zeroes are a valid siginfo_t.
    let (status, ended) = unsafe {
        let status = libc::waitid(libc::P_PID, id, info.as_mut_ptr(), flags);
        (status, info.assume_init().si_pid())
    };
    status != 0 || ended == pid
}

/// Forgets an ended child, and returns how it ended.
pub(crate) fn reap(pid: i32) -> Option<ExitStatus> {
    let mut status = 0;
    // SAFETY: status is valid for writes.
    if unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) } != pid {
        return None;
    }
    Some(if libc::WIFSIGNALED(status) {
        ExitStatus::Signal(libc::WTERMSIG(status))
    } else {
        ExitStatus::Code(libc::WEXITSTATUS(status))
    })
}

/// Starts a program in a session of its own, with default signals, and these files as its descriptors 0, 1, …
///
/// `posix_spawn` shares the memory until the program is loaded, so nothing is copied, and tells whether that worked.
pub(crate) fn spawn(
    program: &CStr,
    argv: &[CString],
    env: &[CString],
    files: &[BorrowedFd<'_>],
) -> io::Result<i32> {
    let argv = pointers(argv);
    let env = pointers(env);
    let attributes = Attributes::new()?;
    let actions = Actions::new(files)?;
    let mut pid = 0;
    // SAFETY: the arrays end with null and their strings, the attributes and the actions live until after the call.
    let error = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            argv.as_ptr(),
            env.as_ptr(),
        )
    };
    check(error)?;
    Ok(pid)
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: init makes the attributes valid, which is checked before they are used.
        let mut attributes = unsafe {
            check(libc::posix_spawnattr_init(attributes.as_mut_ptr()))?;
            Self(attributes.assume_init())
        };
        let flags =
            i32::from(libc::POSIX_SPAWN_SETSID) | libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        let flags = libc::c_short::try_from(flags).map_err(io::Error::other)?;
        let (mut none, mut all) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: both sets are initialised before they are read, and the attributes are valid.
        unsafe {
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigfillset(all.as_mut_ptr());
            check(libc::posix_spawnattr_setflags(&raw mut attributes.0, flags))?;
            check(libc::posix_spawnattr_setsigmask(
                &raw mut attributes.0,
                none.as_ptr(),
            ))?;
            check(libc::posix_spawnattr_setsigdefault(
                &raw mut attributes.0,
                all.as_ptr(),
            ))?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: they were initialised, and are not used again.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new(files: &[BorrowedFd<'_>]) -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: init makes the actions valid, which is checked before they are used.
        let mut actions = unsafe {
            check(libc::posix_spawn_file_actions_init(actions.as_mut_ptr()))?;
            Self(actions.assume_init())
        };
        for (number, file) in (0..).zip(files) {
            // SAFETY: the actions are valid; the descriptor is open until after the spawn, as the caller holds it.
            check(unsafe {
                libc::posix_spawn_file_actions_adddup2(&raw mut actions.0, file.as_raw_fd(), number)
            })?;
        }
        Ok(actions)
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: they were initialised, and are not used again.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

fn pointers(strings: &[CString]) -> Vec<*mut libc::c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr().cast_mut())
        .chain([ptr::null_mut()])
        .collect()
}

fn check(error: i32) -> io::Result<()> {
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
