//! The server's side of a launcher.

use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Stdio},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::{
    channel,
    message::{Bundle, Command, Failure, Launch, Ready, Reply, Request, Setup},
};

/// Why a launcher did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The launcher process could not be started, or cannot be reached.
    #[error("the launcher could not be reached")]
    Unreachable(#[source] io::Error),
    /// The launcher process ended.
    #[error("the launcher has ended")]
    Gone,
    /// A step was refused; nothing of the instance is left.
    #[error("{step}")]
    Step {
        /// What was being done.
        step: String,
        /// The operating system's word, where it had one.
        #[source]
        source: Option<io::Error>,
    },
    /// The launcher answered something else than what it was asked.
    #[error("the launcher gave an unexpected answer")]
    Confused,
}

impl From<Failure> for LaunchError {
    fn from(failure: Failure) -> Self {
        let source = (failure.errno != 0).then(|| io::Error::from_raw_os_error(failure.errno));
        Self::Step {
            step: failure.step,
            source,
        }
    }
}

/// What a launcher starts.
#[derive(Debug)]
pub enum Program<'a> {
    /// A static executable, in memory perhaps, without arguments and environment. The channel is its descriptor 3, and its
    /// standard streams lead nowhere.
    Descriptor(BorrowedFd<'a>),
    /// An executable of the view. The channel is both its standard input and output.
    Command {
        /// Which, and what it is told.
        command: Command,
        /// Where its standard error goes.
        stderr: BorrowedFd<'a>,
    },
    /// What a container runtime starts. The channel is descriptor 3 of the runtime, whose standard input and output lead
    /// nowhere.
    Bundle {
        /// What is wanted.
        bundle: Bundle,
        /// Where the runtime's standard error goes.
        stderr: BorrowedFd<'a>,
        /// The layers of the root from the top down, and the mount with the upper folder if there is one: mounts that are
        /// attached nowhere, which become the instance's.
        mounts: &'a [OwnedFd],
    },
}

/// A process that was started.
#[derive(Debug)]
pub struct Launched {
    /// Its process id as the server sees it; only for people, it may be another's later.
    pub pid: i32,
    /// Its descriptor: readable when it and everything in its process id namespace is over (man 2 pidfd_open).
    pub pidfd: OwnedFd,
}

/// A launcher process. Starts one instance at a time. Dropping it ends it and whatever it started.
#[derive(Debug)]
pub struct Launcher {
    process: Child,
    socket: OwnedFd,
}

impl Launcher {
    /// Starts a launcher from its executable in memory. It does nothing until [`Launcher::send_setup`].
    ///
    /// # Errors
    ///
    /// [`LaunchError::Unreachable`]; no process is left.
    pub fn start(executable: BorrowedFd<'_>) -> Result<Self, LaunchError> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(|error| LaunchError::Unreachable(error.into()))?;
        rustix::io::ioctl_fionbio(&ours, true).map_err(|error| LaunchError::Unreachable(error.into()))?;
        // A process group of its own: Ctrl-C in the terminal is for the server to handle.
        let process = std::process::Command::new(format!("/proc/self/fd/{}", executable.as_raw_fd()))
            .arg0("vulcan-launcher")
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(LaunchError::Unreachable)?;
        Ok(Self {
            process,
            socket: ours,
        })
    }

    /// Returns the launcher's process id; it is not another's while `self` lives.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Tells the launcher to build its view. The answer comes to [`Launcher::try_ready`].
    ///
    /// # Errors
    ///
    /// [`LaunchError::Unreachable`].
    pub fn send_setup(&self, setup: Setup) -> Result<(), LaunchError> {
        channel::send(self.socket.as_fd(), &Request::Setup(setup), &[]).map_err(LaunchError::Unreachable)
    }

    /// Returns the answer to the setup, or `None` while it has not come: wait until `self` is readable.
    ///
    /// # Errors
    ///
    /// Any [`LaunchError`]; the launcher is of no use then.
    pub fn try_ready(&self) -> Result<Option<Ready>, LaunchError> {
        match self.try_receive()? {
            None => Ok(None),
            Some((Reply::Ready(ready), _)) => Ok(Some(ready)),
            Some((Reply::Failed(failure), _)) => Err(failure.into()),
            Some((Reply::Launched { .. }, _)) => Err(LaunchError::Confused),
        }
    }

    /// Tells the launcher to start a program.
    ///
    /// # Errors
    ///
    /// [`LaunchError::Unreachable`].
    pub fn send_launch(
        &self,
        launch: Launch,
        program: Program<'_>,
        guest_channel: BorrowedFd<'_>,
    ) -> Result<(), LaunchError> {
        let (request, fds) = match program {
            Program::Descriptor(executable) => {
                (Request::Launch(launch, None), vec![executable, guest_channel])
            }
            Program::Command { command, stderr } => (
                Request::Launch(launch, Some(command)),
                vec![guest_channel, stderr],
            ),
            Program::Bundle {
                bundle,
                stderr,
                mounts,
            } => {
                let mounts = mounts.iter().map(AsFd::as_fd);
                let fds = [guest_channel, stderr].into_iter().chain(mounts).collect();
                (Request::Bundle(bundle), fds)
            }
        };
        channel::send(self.socket.as_fd(), &request, &fds).map_err(LaunchError::Unreachable)
    }

    /// Returns the process that was started, or `None` while it has not come: wait until `self` is readable.
    ///
    /// # Errors
    ///
    /// [`LaunchError::Step`] when it could not be started; the launcher may be used again. With any other error it may not.
    pub fn try_launched(&self) -> Result<Option<Launched>, LaunchError> {
        match self.try_receive()? {
            None => Ok(None),
            Some((Reply::Launched { pid }, mut fds)) => {
                let pidfd = fds.pop().ok_or(LaunchError::Confused)?;
                Ok(Some(Launched { pid, pidfd }))
            }
            Some((Reply::Failed(failure), _)) => Err(failure.into()),
            Some((Reply::Ready(_), _)) => Err(LaunchError::Confused),
        }
    }

    fn try_receive(&self) -> Result<Option<(Reply, Vec<OwnedFd>)>, LaunchError> {
        match channel::receive(&self.socket) {
            Ok(Some(reply)) => Ok(Some(reply)),
            Ok(None) => Err(LaunchError::Gone),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(LaunchError::Unreachable(error)),
        }
    }
}

impl AsFd for Launcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Launcher {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.as_raw_fd()
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // It holds nothing that it would have to put in order; its children die with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
