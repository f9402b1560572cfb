//! Launching, without a guest agent: any program can be started.

use std::{
    fs::File,
    io::{Read as _, Seek as _, Write as _},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vulcan_host::{
    ProcessLimits,
    launcher::{Command, Launch, LaunchError, Launched, Launcher, Placed, Program, Setup, ViewFile},
    memfd::sealed_executable,
};

const LIMIT: Timespec = Timespec {
    tv_sec: 30,
    tv_nsec: 0,
};

fn wait_until_readable(fd: impl AsFd) {
    let ready = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&LIMIT)).unwrap();
    assert_eq!(ready, 1, "nothing came within 30 s");
}

/// What a launcher is told that has nothing special in its view; the user id counts as root.
fn setup(outer_id: u32) -> Setup {
    let is_root = rustix::process::geteuid().is_root();
    Setup {
        readable: Vec::new(),
        placed: Vec::new(),
        files: Vec::new(),
        outer_id: is_root.then_some(outer_id),
        first: None,
        id_count: None,
    }
}

fn launcher() -> Launcher {
    launcher_with(setup(1_900_900_000))
}

fn launcher_with(setup: Setup) -> Launcher {
    let launcher =
        Launcher::start(File::open(env!("CARGO_BIN_EXE_vulcan-launcher")).unwrap().as_fd()).unwrap();
    launcher.send_setup(setup).unwrap();
    wait_until_readable(&launcher);
    launcher.try_ready().unwrap().expect("it was readable");
    launcher
}

fn launch() -> Launch {
    Launch {
        hostname: "vulcan".to_owned(),
        scratch_bytes: 1 << 20,
        scratch_inodes: 100,
        limits: ProcessLimits {
            open_files: 64,
            file_bytes: 1 << 20,
            processes: 8,
            data_bytes: None,
        },
    }
}

/// A program in memory: Landlock refuses files of the host that are not in the view, even by descriptor.
fn program(path: &str) -> File {
    File::from(sealed_executable("program", &std::fs::read(path).unwrap()).unwrap())
}

/// Starts a program, and returns it with our end of its channel.
fn start(launcher: &Launcher, program: &File) -> Result<(Launched, UnixStream), LaunchError> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    launcher.send_launch(
        launch(),
        Program::Descriptor(program.as_fd()),
        OwnedFd::from(theirs).as_fd(),
    )?;
    wait_until_readable(launcher);
    Ok((launcher.try_launched()?.expect("it was readable"), ours))
}

#[test]
fn a_program_is_started_and_its_end_is_seen() {
    let launcher = launcher();
    for _ in 0..3 {
        let (launched, mut channel) = start(&launcher, &program("/usr/bin/true")).unwrap();
        wait_until_readable(&launched.pidfd);
        assert_eq!(
            channel.read(&mut [0]).unwrap(),
            0,
            "its end of the channel is closed"
        );
    }
}

#[test]
fn what_is_no_program_is_refused_and_the_launcher_goes_on() {
    let launcher = launcher();
    let text = OwnedFd::from(tempfile::tempfile().unwrap());
    let error = start(&launcher, &File::from(text)).unwrap_err();
    assert_eq!(error.to_string(), "execute the guest agent");
    start(&launcher, &program("/usr/bin/true")).unwrap();
}

#[test]
fn a_program_of_the_host_that_is_not_in_the_view_is_refused() {
    let copy = tempfile::NamedTempFile::new().unwrap();
    std::fs::copy("/usr/bin/true", copy.path()).unwrap();
    let path = copy.into_temp_path();
    let error = start(&launcher(), &File::open(&path).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "execute the guest agent");
}

#[test]
fn the_channel_is_open_as_long_as_the_program_runs() {
    let launcher = launcher();
    for _ in 0..3 {
        let (launched, mut channel) = start(&launcher, &program("/usr/bin/yes")).unwrap();
        channel.set_nonblocking(true).unwrap();
        let error = channel.read(&mut [0]).unwrap_err();
        assert_eq!(
            error.kind(),
            std::io::ErrorKind::WouldBlock,
            "the other end is open"
        );
        rustix::process::pidfd_send_signal(&launched.pidfd, rustix::process::Signal::KILL).unwrap();
        wait_until_readable(&launched.pidfd);
        assert_eq!(channel.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn what_was_started_ends_with_its_launcher() {
    let launcher = launcher();
    let (launched, _channel) = start(&launcher, &program("/usr/bin/yes")).unwrap();

    drop(launcher);

    wait_until_readable(&launched.pidfd);
}

#[test]
fn a_launch_before_the_setup_is_refused() {
    let launcher =
        Launcher::start(File::open(env!("CARGO_BIN_EXE_vulcan-launcher")).unwrap().as_fd()).unwrap();
    let error = start(&launcher, &program("/usr/bin/true")).unwrap_err();
    assert_eq!(error.to_string(), "a launch before the setup");
}

#[test]
fn a_folder_that_does_not_exist_is_no_hindrance() {
    launcher_with(Setup {
        readable: vec!["/nowhere/at/all".into()],
        ..setup(1_900_900_001)
    });
}

/// Runs a shell of the view as a command, and returns what it wrote to its standard output and error.
fn run_command(launcher: &Launcher, path: &str, script: &str) -> Result<(String, String), LaunchError> {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    ours.write_all(b"from the host\n").unwrap();
    let mut stderr = tempfile::tempfile().unwrap();
    let command = Command {
        path: path.to_owned(),
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: vec!["A=one two".to_owned()],
    };
    let program = Program::Command {
        command,
        stderr: stderr.as_fd(),
    };
    launcher.send_launch(launch(), program, OwnedFd::from(theirs).as_fd())?;
    wait_until_readable(launcher);
    launcher.try_launched()?.expect("it was readable");
    let (mut said, mut complained) = (String::new(), String::new());
    ours.read_to_string(&mut said).unwrap();
    stderr.rewind().unwrap();
    stderr.read_to_string(&mut complained).unwrap();
    Ok((said, complained))
}

#[test]
fn a_command_of_the_view_has_the_channel_as_its_standard_streams_and_nothing_else() {
    let launcher = launcher_with(Setup {
        placed: vec![Placed {
            from: std::fs::canonicalize("/bin/sh").unwrap(),
            at: "/opt/shell".into(),
        }],
        files: vec![ViewFile {
            at: "/opt/files/text".into(),
            text: "in the view only".to_owned(),
        }],
        ..setup(1_900_900_002)
    });
    let script = "read line; echo \"$line, $A\"; read text < /opt/files/text; echo \"$text\"; echo aside >&2; \
                  cd /proc/self/fd; for fd in *; do test -e \"$fd\" && echo \"open $fd\"; done; \
                  echo x 2>&- > /opt/files/text || echo read-only";

    let (said, complained) = run_command(&launcher, "/opt/shell", script).unwrap();

    assert_eq!(
        said,
        "from the host, one two\nin the view only\nopen 0\nopen 1\nopen 2\nread-only\n"
    );
    assert_eq!(complained.lines().next(), Some("aside"));
}

#[test]
fn a_command_that_is_not_in_the_view_is_refused_and_the_launcher_goes_on() {
    let launcher = launcher();
    let error = run_command(&launcher, "/opt/nothing", "").unwrap_err();
    assert_eq!(error.to_string(), "execute /opt/nothing");
    run_command(&launcher, "/bin/sh", "read line").unwrap();
}
