//! The simulator before the conformance suite.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use vulcan_api::{Code, Program, Runtime};
use vulcan_backend::{
    Backend, BackendError, ExecRequest,
    conformance::{Act, Broken, Harness, Inapplicable, Output, RULES},
    simulator::{Simulator, Step},
};

vulcan_backend::conformance_suite!(SimulatorHarness::new());

/// More than anything reads.
const WITHOUT_END: &str = "flood stdout 1000000000000000";

/// Rules that the simulator's few instructions have no words for.
const NO_WORDS: &[(&str, &str)] = &[
    (
        "a_line_without_end_is_never_held_in_memory",
        "a flood has line ends",
    ),
    (
        "a_script_gets_its_input_on_standard_input",
        "there is no standard input",
    ),
    (
        "arguments_and_environment_arrive_exactly",
        "nothing prints JSON of arguments",
    ),
    ("temporary_files_are_limited_by_memory", "files are no memory"),
    ("shared_memory_files_are_limited_by_memory", "files are no memory"),
    ("anonymous_files_are_limited_by_memory", "files are no memory"),
    ("system_v_memory_is_limited", "there is no such memory"),
    ("the_number_of_processes_is_limited", "a fork counts nothing"),
    ("the_number_of_threads_is_limited", "there are no threads"),
    ("zombies_are_limited_and_do_not_stay", "there are no processes"),
    ("orphans_are_reaped", "there are no processes"),
    ("a_fork_bomb_is_contained", "there are no processes"),
    ("the_number_of_open_files_is_limited", "there are no descriptors"),
    (
        "a_detached_child_does_not_hold_up_the_end",
        "there are no processes",
    ),
    (
        "a_program_that_kills_everything_ends_alone",
        "there are no processes",
    ),
    (
        "files_in_the_working_directory_are_limited",
        "a fill counts nothing",
    ),
    ("files_in_tmp_are_limited", "a fill counts nothing"),
    ("files_in_shm_are_limited", "a fill counts nothing"),
    ("reserved_space_is_limited", "space cannot be reserved"),
    ("a_sparse_file_takes_no_space", "there are no holes"),
    ("the_number_of_files_is_limited", "there are no inodes"),
    ("deep_folders_do_not_stay", "there are no folders"),
    (
        "a_command_gets_its_input_environment_and_folder",
        "there is no standard input",
    ),
    (
        "the_program_sees_what_was_written_and_the_other_way_round",
        "there are no permissions",
    ),
    ("an_endless_file_is_refused", "there are no holes"),
    ("a_path_that_cannot_be_a_file_is_refused", "there are no folders"),
    ("a_fifo_holds_nobody_up", "there are no FIFOs"),
    ("a_link_does_not_lead_out", "there are no links"),
    (
        "the_hosts_environment_does_not_arrive",
        "nothing prints the environment",
    ),
    (
        "what_is_left_behind_is_not_found_by_the_next",
        "there are no folders",
    ),
    ("neighbours_do_not_see_each_other", "there is nothing to offer"),
    ("the_loopback_interface_works_inside", "there is no network"),
    ("processor_time_is_counted", "a spin has no end"),
    ("forged_frames_change_nothing", "there are no descriptors"),
    (
        "a_claimed_result_does_not_hide_the_end",
        "there are no descriptors",
    ),
];

struct SimulatorHarness {
    simulator: Simulator,
    broken: Simulator,
    inapplicable: Vec<Inapplicable>,
}

impl SimulatorHarness {
    fn new() -> Self {
        let no_words = NO_WORDS
            .iter()
            .map(|(rule, reason)| Inapplicable { rule, reason });
        let attacks = RULES
            .iter()
            .filter(|(room, _)| *room == "attacks")
            .map(|(_, rule)| Inapplicable {
                rule,
                reason: "no instruction reaches the host",
            });
        Self {
            simulator: Simulator::new(),
            broken: Simulator::new(),
            inapplicable: no_words.chain(attacks).collect(),
        }
    }
}

#[async_trait]
impl Harness for SimulatorHarness {
    async fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(self.simulator.clone())
    }

    fn program(&self, act: &Act) -> Option<Program> {
        Some(Program {
            image: None,
            runtime: Runtime::Python,
            code: Code::File {
                name: "main.sim".to_owned(),
                bytes: Bytes::from(translate(act)?),
            },
            input: Bytes::from_static(b"null"),
            args: Vec::new(),
            env: BTreeMap::new(),
        })
    }

    fn command(&self, act: &Act) -> Option<ExecRequest> {
        Some(ExecRequest {
            user: String::new(),
            argv: vec!["sim".to_owned(), translate(act)?],
            env: BTreeMap::new(),
            cwd: "/work".to_owned(),
            stdin: Bytes::new(),
        })
    }

    fn inapplicable(&self) -> &[Inapplicable] {
        &self.inapplicable
    }

    async fn broken(&self) -> Vec<Broken> {
        for _ in 0..3 {
            self.broken.fail_next(Step::Start, || BackendError::StartFailed {
                step: "make an instance".to_owned(),
                source: None,
            });
        }
        vec![Broken {
            what: "every start is made to fail".to_owned(),
            backend: Arc::new(self.broken.clone()),
        }]
    }

    async fn leftovers(&self) -> Vec<String> {
        let live = self.simulator.live() + self.broken.live();
        if live == 0 {
            Vec::new()
        } else {
            vec![format!("{live} instances")]
        }
    }
}

fn translate(act: &Act) -> Option<String> {
    Some(match act {
        Act::Exit(code) => format!("exit {code}"),
        Act::Signal(signal) => format!("signal {signal}"),
        Act::PrintOrdered { lines } => (0..*lines)
            .map(|n| format!("stdout line {n}\nstderr line {n}\n"))
            .collect(),
        Act::Flood { bytes, stream } => write(*stream, &Act::flood(*bytes)),
        Act::PrintRaw { bytes, stream } => write(*stream, bytes),
        Act::EndlessLines => format!("stdout ready\n{WITHOUT_END}"),
        Act::EchoInput | Act::EchoIntegers => "echo-input".to_owned(),
        Act::Raise(message) => format!("throw {message}"),
        Act::Unparsable => "no instruction".to_owned(),
        Act::ReturnText { bytes } => format!("output \"{}\"", "x".repeat(*bytes)),
        Act::ReturnNan => "output NaN".to_owned(),
        Act::ReturnDigits(digits) => format!("output {}", "9".repeat(*digits as usize)),
        Act::ReturnNested(depth) => format!("output {}", nested(*depth)),
        Act::ReturnSurrogate => "output \"\\ud800\"".to_owned(),
        Act::PrintNested(depth) => write(Output::Stdout, nested(*depth).as_bytes()),
        Act::Sleep => "stdout ready\nhang".to_owned(),
        Act::SleepFor { millis } => format!("sleep {millis}"),
        Act::SpinIgnoringSigterm | Act::SpinWithDetachedChildren => "stdout ready\nspin".to_owned(),
        Act::AllocateHeap { mib } | Act::AllocateAtOnce { mib } => format!("allocate {mib}\noutput {mib}"),
        Act::WriteFile { path, text } => format!("write {path} {text}"),
        Act::ReadFile { path } => format!("read {path}"),
        Act::Serve => {
            "stdout loaded\nhandler\nsay-input\nwhen raise throw as told\nwhen hang spin\ncount".to_owned()
        }
        _ => return None,
    })
}

fn write(stream: Output, bytes: &[u8]) -> String {
    use std::fmt::Write;

    let mut text = format!("bytes {} ", stream.as_str());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn nested(depth: u32) -> String {
    let depth = depth as usize;
    "[".repeat(depth) + &"]".repeat(depth)
}
