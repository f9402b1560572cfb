//! Starting a program: its environment, its pipes, its session.

use std::{
    collections::BTreeMap,
    ffi::CString,
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use rustix::pipe::PipeFlags;

use crate::{identity::Identity, places::Places, sys};

/// What programs find on their path.
pub(crate) const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Makes programs the first to go when memory runs out, before the agent, whose loss would look like a lost instance.
const OOM_SCORE: &str = "500";

/// A program to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    /// Program and arguments; the program is an absolute path.
    pub(crate) argv: Vec<String>,
    /// Its whole environment.
    pub(crate) env: BTreeMap<String, String>,
    /// Its working directory.
    pub(crate) cwd: PathBuf,
    /// What it has beside standard input, output and error.
    pub(crate) shim: Shim,
    /// Whom it runs as; `None` for the agent's own ids.
    pub(crate) identity: Option<Identity>,
}

/// Whether a program runs under a shim, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shim {
    /// None.
    None,
    /// Descriptor 3 is the way of its report.
    Reports,
    /// And descriptor 4 is where jobs come from.
    Resident,
}

/// A program that runs, and our ends of its pipes; none of them blocks.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: i32,
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    pub(crate) report: Option<OwnedFd>,
    pub(crate) jobs: Option<OwnedFd>,
}

/// Returns the variables that every program has, below those of the user.
pub(crate) fn environment(places: &Places, user: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::from([
        ("HOME".to_owned(), places.work.display().to_string()),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ("PATH".to_owned(), PATH.to_owned()),
        ("TMPDIR".to_owned(), places.tmp.display().to_string()),
        ("USER".to_owned(), "vulcan".to_owned()),
    ]);
    env.extend(user);
    env
}

/// Starts a program.
pub(crate) fn start(command: &Command) -> io::Result<Child> {
    let argv = command
        .argv
        .iter()
        .map(|arg| CString::new(arg.as_str()))
        .collect::<Result<Vec<_>, _>>()?;
    let env = command
        .env
        .iter()
        .map(|(name, value)| CString::new(format!("{name}={value}")))
        .collect::<Result<Vec<_>, _>>()?;
    let program = argv.first().ok_or(io::ErrorKind::InvalidInput)?;
    rustix::process::chdir(&command.cwd)?;

    let (stdin_theirs, stdin) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let (stdout, stdout_theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, stderr_theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let report = match command.shim {
        Shim::None => None,
        Shim::Reports | Shim::Resident => Some(rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?),
    };
    let jobs = match command.shim {
        Shim::None | Shim::Reports => None,
        Shim::Resident => Some(job_socket()?),
    };
    let mut files = vec![stdin_theirs.as_fd(), stdout_theirs.as_fd(), stderr_theirs.as_fd()];
    files.extend(report.as_ref().map(|(_, theirs)| theirs.as_fd()));
    files.extend(jobs.as_ref().map(|(_, theirs)| theirs.as_fd()));
    let extra = [report.as_ref(), jobs.as_ref()];
    for ours in [&stdin, &stdout, &stderr]
        .into_iter()
        .chain(extra.into_iter().flatten().map(|(ours, _)| ours))
    {
        rustix::io::ioctl_fionbio(ours, true)?;
    }

    let pid = match &command.identity {
        None => sys::spawn(program, &argv, &env, &files)?,
        Some(identity) => sys::spawn_as(program, &argv, &env, &files, identity)?,
    };
    // Without it the kernel chooses by size alone. Somebody else than the agent could lower it again, and what nobody raised
    // nobody can lower.
    if command.identity.is_none() {
        std::fs::write(format!("/proc/{pid}/oom_score_adj"), OOM_SCORE).ok();
    }
    Ok(Child {
        pid,
        stdin,
        stdout,
        stderr,
        report: report.map(|(ours, _)| ours),
        jobs: jobs.map(|(ours, _)| ours),
    })
}

fn job_socket() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
    Ok(socketpair(family, kind, SocketFlags::CLOEXEC, None)?)
}
