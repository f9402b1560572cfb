//! A guest agent to talk to.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use vulcan_guest_protocol::{
    CodeForm, DATA_BYTES_MAX, Direction, Exited, FromGuest, GENERATION_MAX, GENERATION_MIN, GuestFrame,
    GuestRuntime, Hello, HostFrame, Invoke, InvokeMode, Prepare, Refusal,
};

/// Longer than anything here takes, the Go compiler's first run on a slow machine included.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running agent, and the stream to it.
pub(crate) struct Guest {
    pub(crate) root: TempDir,
    stream: UnixStream,
    decoder: FromGuest,
    agent: Child,
    answers: BTreeMap<u32, Answer>,
}

/// A way to write to an agent.
pub(crate) struct Writer(UnixStream);

impl Writer {
    pub(crate) fn send(&mut self, channel: u32, frame: &HostFrame) {
        let mut bytes = Vec::new();
        frame.encode(channel, &mut bytes).unwrap();
        self.0.write_all(&bytes).unwrap();
    }

    pub(crate) fn data(&mut self, channel: u32, bytes: &[u8]) {
        for piece in bytes.chunks(DATA_BYTES_MAX) {
            self.send(channel, &HostFrame::Data(piece.to_vec()));
        }
    }
}

/// What became of a request.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) is_started: bool,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) output: Vec<u8>,
    pub(crate) file: Vec<u8>,
    pub(crate) exited: Option<Exited>,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) is_done: bool,
}

impl Guest {
    pub(crate) fn start() -> Self {
        let mut guest = Self::start_silent();
        guest.send(
            0,
            &HostFrame::Hello(Hello {
                generation_min: GENERATION_MIN,
                generation_max: GENERATION_MAX,
            }),
        );
        let (channel, frame) = guest.next_frame().unwrap();
        assert!(matches!((channel, frame), (0, GuestFrame::Welcome(_))));
        guest
    }

    /// Starts an agent that nobody has greeted.
    pub(crate) fn start_silent() -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["work", "tmp"] {
            std::fs::create_dir(root.path().join(folder)).unwrap();
        }
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        let agent = agent(root.path(), theirs.into());
        Self {
            root,
            stream: ours,
            decoder: FromGuest::default(),
            agent,
            answers: BTreeMap::new(),
        }
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.root.path().join("work")
    }

    pub(crate) fn send(&mut self, channel: u32, frame: &HostFrame) {
        self.writer().send(channel, frame);
    }

    pub(crate) fn data(&mut self, channel: u32, bytes: &[u8]) {
        self.writer().data(channel, bytes);
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Returns a second way to write, for another thread.
    pub(crate) fn writer(&self) -> Writer {
        Writer(self.stream.try_clone().unwrap())
    }

    pub(crate) fn agent_id(&self) -> u32 {
        self.agent.id()
    }

    /// Returns the next frame; `None` when the agent has closed the stream.
    pub(crate) fn next_frame(&mut self) -> Option<(u32, GuestFrame)> {
        loop {
            if let Some(found) = self.decoder.next_frame().unwrap() {
                return Some(found);
            }
            let mut bytes = [0; 65536];
            let count = self.stream.read(&mut bytes).unwrap();
            if count == 0 {
                return None;
            }
            self.decoder.push(&bytes[..count]);
        }
    }

    /// Waits for standard output.
    pub(crate) fn next_stdout(&mut self) -> Vec<u8> {
        loop {
            if let GuestFrame::Stdout(data) = self.next_frame().unwrap().1 {
                return data;
            }
        }
    }

    /// Waits until the channel is over; what others say meanwhile is kept.
    pub(crate) fn finish(&mut self, channel: u32) -> Answer {
        let mut is_over = self.answers.get(&channel).is_some_and(Answer::is_over);
        while !is_over {
            let (number, frame) = self.next_frame().unwrap();
            let answer = self.answers.entry(number).or_default();
            answer.take(frame);
            is_over = number == channel && answer.is_over();
        }
        self.answers.remove(&channel).unwrap()
    }

    pub(crate) fn begin(&mut self, channel: u32, run: &Run) {
        self.send(channel, &HostFrame::Invoke(run.invoke.clone()));
        self.data(channel, &run.code);
        self.data(channel, &run.input);
    }

    pub(crate) fn run(&mut self, run: &Run) -> Answer {
        self.begin(1, run);
        self.finish(1)
    }

    /// Starts an interpreter ahead.
    pub(crate) fn prepare(&mut self, runtime: GuestRuntime) {
        self.send(1000, &HostFrame::Prepare(Prepare { runtime }));
        let answer = self.finish(1000);
        assert!(answer.is_done, "{answer:?}");
    }

    pub(crate) fn begin_call(&mut self, channel: u32, mode: InvokeMode, input: &str) {
        self.begin(channel, &Run::call(GuestRuntime::Python, mode, input));
    }

    /// Calls what is loaded.
    pub(crate) fn call(&mut self, mode: InvokeMode, input: &str) -> Answer {
        self.begin_call(2, mode, input);
        self.finish(2)
    }

    pub(crate) fn children(&self) -> Vec<u32> {
        children_of(self.agent.id())
    }

    pub(crate) fn kill_children(&self) {
        for child in self.children() {
            let pid = rustix::process::Pid::from_raw(child.cast_signed()).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
    }

    pub(crate) fn wait_for_children(&self, count: usize) {
        poll(|| self.children().len() == count);
    }

    /// Closes the stream, and waits for the agent's end.
    pub(crate) fn hang_up(mut self) -> std::process::ExitStatus {
        self.stream.shutdown(std::net::Shutdown::Both).unwrap();
        self.agent.wait().unwrap()
    }

    /// Waits for the agent's end.
    pub(crate) fn wait(mut self) -> std::process::ExitStatus {
        self.agent.wait().unwrap()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.stream.shutdown(std::net::Shutdown::Both).ok();
        self.agent.wait().unwrap();
    }
}

impl Answer {
    fn take(&mut self, frame: GuestFrame) {
        match frame {
            GuestFrame::Started => self.is_started = true,
            GuestFrame::Stdout(data) => self.stdout.extend(data),
            GuestFrame::Stderr(data) => self.stderr.extend(data),
            GuestFrame::Output(data) => self.output.extend(data),
            GuestFrame::FileData(data) => self.file.extend(data),
            GuestFrame::Exited(exited) => self.exited = Some(exited),
            GuestFrame::Refused(refusal) => self.refusal = Some(refusal),
            GuestFrame::Done => self.is_done = true,
            GuestFrame::Welcome(_) | GuestFrame::System(_) => {}
        }
    }

    fn is_over(&self) -> bool {
        self.exited.is_some() || self.refusal.is_some() || self.is_done
    }

    pub(crate) fn exited(&self) -> &Exited {
        self.exited.as_ref().unwrap_or_else(|| panic!("{self:?}"))
    }

    /// Returns the handler's result.
    pub(crate) fn result(&self) -> Value {
        assert_eq!(self.exited().error, None, "{}", self.stderr());
        serde_json::from_slice(&self.output).unwrap()
    }

    /// Returns the code, the message and the traceback of the shim's error.
    pub(crate) fn error(&self) -> (&str, &str, &str) {
        let error = self.exited().error.as_ref().unwrap_or_else(|| panic!("{self:?}"));
        (&error.code, &error.message, error.stack.as_deref().unwrap_or(""))
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// Waits until something holds.
#[expect(clippy::disallowed_methods, reason = "a deadline of real processes")]
fn poll(holds: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "it never held");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Returns the children of a process, zombies included.
pub(crate) fn children_of(pid: u32) -> Vec<u32> {
    let is_child = |candidate: &u32| {
        std::fs::read_to_string(format!("/proc/{candidate}/stat"))
            .ok()
            .and_then(|stat| {
                let (_, rest) = stat.rsplit_once(')')?;
                rest.split(' ').nth(2)?.parse().ok()
            })
            .is_some_and(|parent: u32| parent == pid)
    };
    let processes = std::fs::read_dir("/proc").unwrap();
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(is_child)
        .collect()
}

/// Waits until a process is gone, or nothing but its entry is left.
pub(crate) fn wait_until_gone(pid: i64) {
    poll(|| std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z ")));
}

/// A program to run.
pub(crate) struct Run {
    pub(crate) invoke: Invoke,
    code: Vec<u8>,
    input: Vec<u8>,
}

impl Run {
    pub(crate) fn file(runtime: GuestRuntime, name: &str, code: impl AsRef<[u8]>) -> Self {
        let code = code.as_ref().to_vec();
        let input = b"null".to_vec();
        Self {
            invoke: Invoke {
                command: None,
                workload: "wl_test".into(),
                runtime,
                code_form: CodeForm::File,
                entrypoint: name.into(),
                code_bytes: code.len() as u64,
                input_bytes: input.len() as u64,
                args: Vec::new(),
                env: BTreeMap::new(),
                output_bytes_max: 1024 * 1024,
                timeout_ms: 30_000,
                mode: InvokeMode::Once,
            },
            code,
            input,
        }
    }

    pub(crate) fn archive(runtime: GuestRuntime, entrypoint: &str, files: &[(&str, &str)]) -> Self {
        let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(
            Vec::new(),
            flate2::Compression::fast(),
        ));
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            archive
                .append_data(&mut header, name, content.as_bytes())
                .unwrap();
        }
        Self::packed(
            runtime,
            entrypoint,
            archive.into_inner().unwrap().finish().unwrap(),
        )
    }

    pub(crate) fn packed(runtime: GuestRuntime, entrypoint: &str, archive: Vec<u8>) -> Self {
        let mut run = Self::file(runtime, entrypoint, archive);
        run.invoke.code_form = CodeForm::Archive;
        run
    }

    pub(crate) fn input(mut self, input: impl AsRef<[u8]>) -> Self {
        self.input = input.as_ref().to_vec();
        self.invoke.input_bytes = self.input.len() as u64;
        self
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.invoke.args = args.iter().map(|arg| (*arg).to_owned()).collect();
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.invoke.env.insert(name.into(), value.into());
        self
    }

    pub(crate) fn output_bytes_max(mut self, bytes: u64) -> Self {
        self.invoke.output_bytes_max = bytes;
        self
    }

    pub(crate) fn repeatable(self) -> Self {
        self.mode(InvokeMode::Beside)
    }

    pub(crate) fn mode(mut self, mode: InvokeMode) -> Self {
        self.invoke.mode = mode;
        self
    }

    /// A call of what is loaded.
    fn call(runtime: GuestRuntime, mode: InvokeMode, input: &str) -> Self {
        let mut run = Self::file(runtime, "", "").input(input).mode(mode);
        run.invoke.code_form = CodeForm::Loaded;
        run.invoke.workload = "wl_call".into();
        run.invoke.timeout_ms = 5000;
        run
    }
}

#[expect(
    unsafe_code,
    reason = "only the child can put the stream where the agent expects it"
)]
fn agent(root: &std::path::Path, stream: OwnedFd) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vulcan-guest-agent"));
    command
        .arg("--root")
        .arg(root)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    // SAFETY: dup2 is async-signal-safe and allocates nothing.
    unsafe {
        command.pre_exec(move || match libc::dup2(stream.as_raw_fd(), 3) {
            -1 => Err(std::io::Error::last_os_error()),
            // The same number keeps its close-on-exec flag.
            3 if stream.as_raw_fd() == 3 => {
                Ok(rustix::io::fcntl_setfd(&stream, rustix::io::FdFlags::empty())?)
            }
            _ => Ok(()),
        });
    }
    command.spawn().unwrap()
}
