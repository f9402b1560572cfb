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

use crate::identity::Identity;

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

/// Makes the standard streams lead nowhere.
pub(crate) fn silence_streams() -> io::Result<()> {
    let null = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(rustix::stdio::dup2_stderr(&null)?)
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

/// Takes effective ids, and with them the rights to files; the real ones stay, so that the way back is open.
pub(crate) fn set_effective_ids(uid: u32, gid: u32) -> io::Result<()> {
    let done = |result: libc::c_int| {
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    };
    // SAFETY: no memory is involved.
    let (user, group) = (|| unsafe { libc::seteuid(uid) }, || unsafe { libc::setegid(gid) });
    // Both need user 0: it comes first on the way up, and goes last on the way down.
    if uid == 0 {
        done(user())?;
        return done(group());
    }
    done(group())?;
    done(user())
}

/// Starts a program as [`spawn`] does, as somebody else.
///
/// A fork, since `posix_spawn` changes no ids; the agent is small.
pub(crate) fn spawn_as(
    program: &CStr,
    argv: &[CString],
    env: &[CString],
    files: &[BorrowedFd<'_>],
    identity: &Identity,
) -> io::Result<i32> {
    // Above the numbers that the files will have.
    const ABOVE: i32 = 16;
    let (argv, env) = (pointers(argv), pointers(env));
    let (words, low) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let words_theirs = rustix::io::fcntl_dupfd_cloexec(&low, ABOVE)?;
    drop(low);
    // SAFETY: the agent has one thread, so that the child may do whatever the agent may.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    if pid == 0 {
        let error = become_somebody(identity)
            .and_then(|()| place_files(files))
            .map_or_else(
                |error| error,
                |()| {
                    // SAFETY: the arrays end with null, and their strings live.
                    unsafe { libc::execve(program.as_ptr(), argv.as_ptr().cast(), env.as_ptr().cast()) };
                    io::Error::last_os_error()
                },
            );
        let code = error.raw_os_error().unwrap_or(libc::EINVAL).to_ne_bytes();
        rustix::io::write(&words_theirs, &code).ok();
        // SAFETY: it never returns.
        unsafe { libc::_exit(127) };
    }
    drop(words_theirs);
    let mut code = [0; 4];
    let read = rustix::io::retry_on_intr(|| rustix::io::read(&words, &mut code))?;
    if read == 0 {
        return Ok(pid);
    }
    let mut status = 0;
    // SAFETY: status is valid for writes.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    Err(io::Error::from_raw_os_error(i32::from_ne_bytes(code)))
}

/// Gives up what the agent is, in the child: its session, its signals, its rights.
fn become_somebody(identity: &Identity) -> io::Result<()> {
    let done = |result: libc::c_int| {
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    };
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is initialised before it is read; default dispositions run no code; the groups are valid.
    unsafe {
        done(libc::setsid())?;
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::sigemptyset(none.as_mut_ptr());
        done(libc::sigprocmask(
            libc::SIG_SETMASK,
            none.as_ptr(),
            ptr::null_mut(),
        ))?;
    }
    // The runtime has set it, but not every kernel of a guest hands it on.
    // SAFETY: no memory is involved.
    done(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    drop_bounds(identity.uid == 0)?;
    // SAFETY: the list is as long as is said.
    unsafe {
        done(libc::setgroups(identity.groups.len(), identity.groups.as_ptr()))?;
        done(libc::setresgid(identity.gid, identity.gid, identity.gid))?;
        done(libc::setresuid(identity.uid, identity.uid, identity.uid))
    }
}

/// Removes capabilities from the bounding set, so that no exec brings them: all of them, or for user 0 that of keeping the
/// agent company.
fn drop_bounds(is_root: bool) -> io::Result<()> {
    /// CAP_SETPCAP of linux/capability.h.
    const SETPCAP: libc::c_ulong = 8;
    let range = if is_root { SETPCAP..=SETPCAP } else { 0..=63 };
    for capability in range {
        // SAFETY: no memory is involved.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } < 0 {
            return match io::Error::last_os_error() {
                // The first number that the kernel does not know.
                error if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
                error => Err(error),
            };
        }
    }
    Ok(())
}

fn place_files(files: &[BorrowedFd<'_>]) -> io::Result<()> {
    for (number, file) in (0..).zip(files) {
        // SAFETY: whatever had the number is the child's to give up. No file has a number that an earlier one takes: see
        // `process::start`, which makes them in this order above the agent's own.
        if unsafe { libc::dup2(file.as_raw_fd(), number) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
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
