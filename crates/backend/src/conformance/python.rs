//! The acts as Python programs, for every class that runs CPython 3.
//!
//! Needs nothing but the standard library, of which `ctypes` for attacks.

use std::collections::BTreeMap;

use bytes::Bytes;
use vulcan_api::{Code, Program, Runtime};

use crate::ExecRequest;

use super::{Act, Output, act::Ending, attack};

const ACTS: &str = include_str!("acts.py");

const SERVE: &str = "\
print('loaded')
answered = 0

def handler(text):
    global answered
    print(text)
    if text == 'raise':
        raise ValueError('as told')
    while text == 'hang':
        pass
    answered += 1
    return answered
";

/// Returns the program that performs an act.
#[must_use]
pub fn program(act: &Act) -> Program {
    let (source, args) = translate(act);
    Program {
        image: None,
        runtime: Runtime::Python,
        code: Code::File {
            name: "main.py".to_owned(),
            bytes: Bytes::from(source),
        },
        input: Bytes::from_static(b"null"),
        args,
        env: BTreeMap::new(),
    }
}

/// Returns the command that performs an act; `interpreter` is Python's path in the guest.
///
/// Acts with a handler have no command.
#[must_use]
pub fn command(interpreter: &str, act: &Act) -> Option<ExecRequest> {
    let (source, args) = translate(act);
    (source == ACTS).then(|| ExecRequest {
        user: String::new(),
        argv: [interpreter.to_owned(), "-c".to_owned(), source]
            .into_iter()
            .chain(args)
            .collect(),
        env: BTreeMap::new(),
        cwd: "/work".to_owned(),
        stdin: Bytes::new(),
    })
}

fn translate(act: &Act) -> (String, Vec<String>) {
    match act {
        Act::Attack(name) => (attack::find(name).script(), Vec::new()),
        Act::Serve => (SERVE.to_owned(), Vec::new()),
        Act::Unparsable => ("def handler(input, context:\n    return\n".to_owned(), Vec::new()),
        _ => match handler(act) {
            Some(body) => (format!("def handler(input, context):\n    {body}\n"), Vec::new()),
            None => (ACTS.to_owned(), argv(act)),
        },
    }
}

/// The body of the handler, for acts that have one.
fn handler(act: &Act) -> Option<String> {
    match act {
        Act::EchoInput | Act::EchoIntegers => Some("return input".to_owned()),
        Act::Raise(message) => Some(format!("raise ValueError({message:?})")),
        Act::ReturnText { bytes } => Some(format!("return 'x' * {bytes}")),
        Act::ReturnNan => Some("return float('nan')".to_owned()),
        Act::ReturnDigits(digits) => Some(format!("return 10 ** {}", digits.saturating_sub(1))),
        Act::ReturnNested(depth) => Some(format!(
            "value = None\n    for _ in range({depth}):\n        value = [value]\n    return value"
        )),
        Act::ReturnSurrogate => Some("return '\\ud800'".to_owned()),
        _ => None,
    }
}

/// The arguments of `acts.py`: the act's name, then its own.
fn argv(act: &Act) -> Vec<String> {
    let (name, args): (&str, Vec<String>) = match act {
        Act::Exit(code) => ("exit", vec![code.to_string()]),
        Act::Signal(signal) => ("signal", vec![signal.to_string()]),
        Act::PrintOrdered { lines } => ("print_ordered", vec![lines.to_string()]),
        Act::Flood { bytes, stream } => ("flood", vec![bytes.to_string(), name_of(*stream)]),
        Act::PrintRaw { bytes, stream } => ("print_raw", vec![hex(bytes), name_of(*stream)]),
        Act::PrintNested(depth) => ("print_nested", vec![depth.to_string()]),
        Act::FillFolder { folder, mib } => ("fill_folder", vec![folder.clone(), mib.to_string()]),
        Act::WriteFile { path, text } => ("write_file", vec![path.clone(), text.clone()]),
        Act::ReadFile { path } => ("read_file", vec![path.clone()]),
        Act::FileMode { path } => ("file_mode", vec![path.clone()]),
        Act::MakeOddFiles { fifo, link, target } => {
            ("make_odd_files", vec![fifo.clone(), link.clone(), target.clone()])
        }
        Act::LeaveTraces { name } => ("leave_traces", vec![name.clone()]),
        Act::FindTraces { name } => ("find_traces", vec![name.clone()]),
        Act::PrintArgs(args) => ("print_args", args.clone()),
        Act::ForgeFrames(ending) => ("forge_frames", vec![name_of_ending(*ending)]),
        Act::ForgeResult(ending) => ("forge_result", vec![name_of_ending(*ending)]),
        _ => {
            return counted(act).map_or_else(
                || vec![plain(act).to_owned()],
                |(name, n)| vec![name.to_owned(), n],
            );
        }
    };
    std::iter::once(name.to_owned()).chain(args).collect()
}

/// Acts whose only argument is a number.
fn counted(act: &Act) -> Option<(&'static str, String)> {
    let (name, number) = match act {
        Act::SleepFor { millis } => ("sleep_for", *millis),
        Act::SpinFor { cpu_millis } => ("spin_for", *cpu_millis),
        Act::AllocateHeap { mib } => ("allocate_heap", u64::from(*mib)),
        Act::AllocateAtOnce { mib } => ("allocate_at_once", u64::from(*mib)),
        Act::Memfd { mib } => ("memfd", u64::from(*mib)),
        Act::SystemVMemory { mib } => ("system_v_memory", u64::from(*mib)),
        Act::Orphans(count) => ("orphans", u64::from(*count)),
        Act::CountInodes { most } => ("count_inodes", u64::from(*most)),
        Act::SparseFile { gib } => ("sparse_file", u64::from(*gib)),
        Act::Fallocate { mib } => ("fallocate", u64::from(*mib)),
        Act::DeepFolders(depth) => ("deep_folders", u64::from(*depth)),
        _ => return None,
    };
    Some((name, number.to_string()))
}

/// Acts without arguments.
fn plain(act: &Act) -> &'static str {
    match act {
        Act::EndlessLines => "endless_lines",
        Act::EndlessLine => "endless_line",
        Act::CopyInput => "copy_input",
        Act::Sleep => "sleep",
        Act::SpinIgnoringSigterm => "spin_ignoring_sigterm",
        Act::CountForks => "count_forks",
        Act::CountThreads => "count_threads",
        Act::ForkBomb => "fork_bomb",
        Act::Zombies => "zombies",
        Act::LeaveDetachedChild => "leave_detached_child",
        Act::SpinWithDetachedChildren => "spin_with_detached_children",
        Act::CountOpenFiles => "count_open_files",
        Act::PrintEnv => "print_env",
        Act::PrintStdinAndCwd => "print_stdin_and_cwd",
        Act::UseLoopback => "use_loopback",
        Act::OfferToNeighbours => "offer_to_neighbours",
        Act::KillEverything => "kill_everything",
        other => unreachable!("{other:?} has a translation of its own"),
    }
}

fn name_of(stream: Output) -> String {
    stream.as_str().to_owned()
}

fn name_of_ending(ending: Ending) -> String {
    match ending {
        Ending::Crash => "crash",
        Ending::Seven => "seven",
    }
    .to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
