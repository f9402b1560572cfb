//! The frames themselves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The most bytes that a sender puts into one `Data`, `Stdout`, `Stderr`, `Output` or `FileData` frame.
///
/// Smaller than the payload limit, so that a flood on one channel does not hold up the others for long.
pub const DATA_BYTES_MAX: usize = 64 * 1024;

/// What the host sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostFrame {
    /// Opens the conversation, on channel 0.
    Hello(Hello),
    /// Runs code; its bytes and its input follow as `Data`.
    Invoke(Invoke),
    /// Runs a command beside whatever runs; its standard input follows as `Data` until `DataEnd`.
    Exec(Exec),
    /// Asks for a file.
    ReadFile(ReadFile),
    /// Writes a file; its bytes follow as `Data`.
    WriteFile(WriteFile),
    /// Raw bytes for the channel's request.
    Data(Vec<u8>),
    /// No more `Data` will follow on the channel.
    DataEnd,
    /// Sends a signal to the channel's process and its process group.
    Signal(SignalRequest),
    /// Ends every process and then the guest, on channel 0.
    Shutdown,
    /// Starts an interpreter ahead of the code; answered by `Done` when it is ready, or `Refused`.
    Prepare(Prepare),
}

/// What the guest sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestFrame {
    /// Answers `Hello`.
    Welcome(Welcome),
    /// The channel's program runs: whatever takes time from now on is the program's own.
    Started,
    /// Raw bytes of standard output.
    Stdout(Vec<u8>),
    /// Raw bytes of standard error.
    Stderr(Vec<u8>),
    /// A remark of the agent, as UTF-8.
    System(Vec<u8>),
    /// Raw bytes of the handler's result, a JSON text.
    Output(Vec<u8>),
    /// The program is over, and with it the channel.
    Exited(Exited),
    /// Raw bytes of the file that was asked for.
    FileData(Vec<u8>),
    /// The request of the channel is done, and with it the channel.
    Done,
    /// The request of the channel could not be met; the channel is over.
    Refused(Refusal),
}

/// The generations that the host speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// The oldest.
    pub generation_min: u16,
    /// The newest.
    pub generation_max: u16,
}

/// What the guest chose, and who it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Welcome {
    /// The generation of everything that follows.
    pub generation: u16,
    /// The agent's version, for people.
    pub agent: String,
}

/// Which shim runs the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuestRuntime {
    /// CPython with the handler shim.
    Python,
    /// Node.js with the handler shim.
    Node,
    /// The same, types stripped before.
    Typescript,
    /// Bash on the file.
    Bash,
    /// The file itself.
    Binary,
    /// The Go compiler on the file or its folder; leaves the executable at `/work/out/program`.
    GoBuild,
    /// No shim: [`Invoke::command`] as it is.
    Command,
}

/// Starts an interpreter ahead of the code, to be taken by the next `Invoke` of the same runtime. At most one at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prepare {
    /// Which one.
    pub runtime: GuestRuntime,
}

/// What becomes of the guest, and of the program's process, with the end of an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvokeMode {
    /// The guest is over with this program: everything else in it is killed when the program ends.
    Once,
    /// The guest stays, for programs that are processes of their own.
    Beside,
    /// The process stays with its handler loaded, and serves later calls with [`CodeForm::Loaded`].
    Warm,
    /// The same, and every call is served by a fork of it.
    Forked,
}

/// How the code's bytes are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodeForm {
    /// They are the entrypoint's content.
    File,
    /// They are a tar.gz archive that holds the entrypoint.
    Archive,
    /// There are none: the handler that an earlier call loaded is called again. Only the workload, the input, the limits and
    /// the timeout of the request count.
    Loaded,
    /// There are none: the program is part of the guest's filesystem, and [`Invoke::command`] says which one.
    Command,
}

/// A command of the guest's own filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The program, by absolute path or looked up in the request's `PATH`, and its first arguments.
    pub argv: Vec<String>,
    /// Its working directory, absolute; it is made where it is missing.
    pub cwd: String,
    /// `user`, `uid`, `user:group` or `uid:gid`, looked up in the guest; user id 0 where it is empty.
    pub user: String,
}

/// Runs code in `/work`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invoke {
    /// The workload's id, for the handler's context.
    pub workload: String,
    /// Which shim runs the code.
    pub runtime: GuestRuntime,
    /// How the code's bytes are to be read.
    pub code_form: CodeForm,
    /// The file to run, relative to `/work`.
    pub entrypoint: String,
    /// How many bytes of code come first.
    pub code_bytes: u64,
    /// How many bytes of input, a JSON text, come after the code.
    pub input_bytes: u64,
    /// Arguments of the program.
    pub args: Vec<String>,
    /// Environment of the program, added to the shim's own.
    pub env: BTreeMap<String, String>,
    /// A longer handler result ends the program's run as too large.
    pub output_bytes_max: u64,
    /// Milliseconds that the host will wait, for the handler's context.
    pub timeout_ms: u64,
    /// What becomes of the guest, and of the program's process, afterwards.
    pub mode: InvokeMode,
    /// What to run; exactly with [`CodeForm::Command`]. Its environment is `env` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Command>,
}

/// Runs a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// The program, by absolute path or looked up in `PATH`, and its arguments.
    pub argv: Vec<String>,
    /// Its whole environment beside `PATH` and `HOME`.
    pub env: BTreeMap<String, String>,
    /// Its working directory.
    pub cwd: String,
    /// Whom it runs as, as in [`Command::user`]; whom code runs as where it is empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
}

/// Asks for a file's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadFile {
    /// An absolute path in the guest.
    pub path: String,
    /// A longer file is refused.
    pub bytes_max: u64,
}

/// Writes a file, replacing what was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteFile {
    /// An absolute path in the guest; its folder must exist.
    pub path: String,
    /// The permission bits, `0o644` for example.
    pub mode: u32,
    /// How many bytes follow.
    pub bytes: u64,
}

/// Sends a signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalRequest {
    /// Its number, 1 to 64.
    pub signal: u8,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl ExitStatus {
    /// Returns the number that a shell reports: the code, or 128 + the signal.
    #[must_use]
    pub const fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128_i32.saturating_add(signal),
        }
    }
}

/// What the code turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgramMode {
    /// It has a handler, whose result came as `Output`.
    Handler,
    /// It is a program; its standard output may be its result.
    Script,
}

/// What the shim says of a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestError {
    /// `exception`, `output_invalid` or `output_too_large`; anything else is taken for `exception`.
    pub code: String,
    /// What happened, in one line.
    pub message: String,
    /// The traceback.
    pub stack: Option<String>,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exited {
    /// The process's end.
    pub status: ExitStatus,
    /// What the code turned out to be.
    pub mode: ProgramMode,
    /// What the shim says of a failure.
    pub error: Option<GuestError>,
    /// How many calls at once the loaded handler takes from now on; 0 when nothing is loaded.
    #[serde(default)]
    pub reusable: u16,
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// Nothing exists at the path, or the program was not found.
    NotFound,
    /// The file is longer than the limit of the request.
    TooLarge,
    /// The request makes no sense, or the code cannot be unpacked.
    Invalid,
    /// The guest has as many channels as it takes.
    Busy,
    /// The guest's operating system refused.
    Io,
}

/// A request that could not be met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// The case.
    pub code: RefusalCode,
    /// What happened, in words.
    pub message: String,
}
