//! What the conformance suite needs of the class: a backend of its own per rule, and the acts as modules.

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use bytes::Bytes;
use tempfile::TempDir;
use vulcan_api::{Code, Program, Runtime};
use vulcan_backend::{
    Backend,
    conformance::{Act, Broken, Harness, Inapplicable, Output},
};
use vulcan_backend_wasm::{Options, Wasm};

pub(crate) const ACTS: &[u8] = include_bytes!("../modules/acts.wasm");
pub(crate) const HANDLERS: &[u8] = include_bytes!("../modules/handlers.wasm");
/// A module that does nothing: the largest part of all modules.
const UNPARSABLE: &str = "(module\n  (func (export \"_start\")\n    (i32.add 1))";
/// Fewer slots than the default: every rule has a backend of its own.
const SLOTS: u32 = 32;

/// One backend, with a folder for its compiled modules.
pub(crate) struct WasmHarness {
    folder: TempDir,
    wasm: OnceLock<Arc<Wasm>>,
}

impl WasmHarness {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            wasm: OnceLock::new(),
        }
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            slots_max: SLOTS,
            ..Options::new(Some(self.folder.path().join("cache")))
        }
    }

    pub(crate) fn wasm(&self) -> Arc<Wasm> {
        let make = || Arc::new(Wasm::new(&self.options()).unwrap());
        Arc::clone(self.wasm.get_or_init(make))
    }
}

/// Makes the program of a module.
pub(crate) fn program(name: &str, module: impl Into<Bytes>, env: &[(&str, String)]) -> Program {
    Program {
        image: None,
        runtime: Runtime::Wasm,
        code: Code::File {
            name: name.to_owned(),
            bytes: module.into(),
        },
        input: Bytes::from_static(b"null"),
        args: Vec::new(),
        env: env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect::<BTreeMap<_, _>>(),
    }
}

/// Makes the program of an act of acts.c.
pub(crate) fn command(act: &str, a: impl Display, b: impl Display) -> Program {
    let env = [
        ("ACT", act.to_owned()),
        ("A", a.to_string()),
        ("B", b.to_string()),
    ];
    program("main.wasm", ACTS, &env)
}

/// Makes the program of an act of handlers.c.
pub(crate) fn handler(act: &str, a: impl Display) -> Program {
    program(
        "main.wasm",
        HANDLERS,
        &[("ACT", act.to_owned()), ("A", a.to_string())],
    )
}

#[async_trait]
impl Harness for WasmHarness {
    async fn backend(&self) -> Arc<dyn Backend> {
        self.wasm()
    }

    fn program(&self, act: &Act) -> Option<Program> {
        translated(act).or_else(|| attack(act))
    }

    fn inapplicable(&self) -> &[Inapplicable] {
        INAPPLICABLE
    }

    async fn broken(&self) -> Vec<Broken> {
        let options = Options {
            slots_max: 0,
            ..self.options()
        };
        vec![Broken {
            what: "there are no slots".to_owned(),
            backend: Arc::new(Wasm::new(&options).unwrap()),
        }]
    }

    /// An instance is no process and has no files: what could be left is a slot, a memory, a stack.
    async fn leftovers(&self) -> Vec<String> {
        let occupancy = self.wasm().occupancy();
        let kinds = [
            (occupancy.instances, "instances"),
            (occupancy.memories, "memories"),
            (occupancy.stacks, "stacks"),
        ];
        let left = kinds.into_iter().filter(|(count, _)| *count > 0);
        left.map(|(count, what)| format!("{count} {what}")).collect()
    }
}

fn translated(act: &Act) -> Option<Program> {
    Some(match act {
        Act::Exit(code) => command("exit", code, ""),
        Act::PrintOrdered { lines } => command("print_ordered", lines, ""),
        Act::Flood { bytes, stream } => command("flood", bytes, stream.as_str()),
        Act::PrintRaw { bytes, stream } => print_raw(bytes, *stream),
        Act::EndlessLines => command("endless_lines", "", ""),
        Act::EndlessLine => command("endless_line", "", ""),
        Act::EchoInput | Act::EchoIntegers => handler("echo", ""),
        Act::CopyInput => command("copy_input", "", ""),
        Act::Raise(words) => handler("raise", words),
        Act::Unparsable => program("main.wat", UNPARSABLE, &[]),
        Act::ReturnText { bytes } => handler("text", bytes),
        Act::ReturnNan => handler("nan", ""),
        Act::ReturnDigits(digits) => handler("digits", digits),
        Act::ReturnNested(depth) => handler("nested", depth),
        Act::ReturnSurrogate => handler("surrogate", ""),
        Act::PrintNested(depth) => command("print_nested", depth, ""),
        Act::Sleep => command("sleep", "", ""),
        Act::SleepFor { millis } => command("sleep_for", millis, ""),
        // There is no signal to ignore, and no child to leave.
        Act::SpinIgnoringSigterm | Act::SpinWithDetachedChildren => command("spin", "", ""),
        Act::SpinFor { cpu_millis } => command("spin_for", cpu_millis, ""),
        Act::AllocateHeap { mib } => command("allocate_heap", mib, ""),
        Act::AllocateAtOnce { mib } => command("allocate_at_once", mib, ""),
        Act::FillFolder { folder, .. } if folder == "/dev/shm" => return None,
        Act::FillFolder { folder, mib } => command("fill_folder", folder, mib),
        Act::CountOpenFiles => command("count_open_files", "", ""),
        Act::CountInodes { most } => command("count_inodes", most, ""),
        Act::SparseFile { gib } => command("sparse_file", gib, ""),
        Act::Fallocate { mib } => command("fallocate", mib, ""),
        Act::DeepFolders(depth) => command("deep_folders", depth, ""),
        Act::WriteFile { path, text } => command("write_file", path, text),
        Act::ReadFile { path } => command("read_file", path, ""),
        Act::LeaveTraces { name } => command("leave_traces", name, ""),
        Act::FindTraces { name } => command("find_traces", name, ""),
        Act::Serve => handler("serve", ""),
        Act::PrintArgs(args) => Program {
            args: args.clone(),
            ..command("print_args", "", "")
        },
        Act::PrintEnv => program("main.wasm", ACTS, &[]),
        Act::OfferToNeighbours => command("offer_to_neighbours", "", ""),
        _ => return None,
    })
}

fn print_raw(bytes: &[u8], stream: Output) -> Program {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    command("print_raw", hex, stream.as_str())
}

/// The attacks that can be said in WASI at all: those on files, descriptors and neighbours.
fn attack(act: &Act) -> Option<Program> {
    match act {
        Act::Attack(name @ ("host_files" | "host_secrets" | "leaked_descriptors" | "neighbour")) => {
            Some(command(name, "", ""))
        }
        _ => None,
    }
}

const NO_SIGNALS: &str = "WebAssembly has no signals: nothing can be sent, caught or ignored";
const NO_PROCESSES: &str =
    "WebAssembly has no processes and no threads: nothing can be forked, left behind or killed";
const NO_SHARED_MEMORY: &str = "WASI has no memory but the module's own, which another rule fills";
const NO_SYSTEM_CALLS: &str =
    "a module makes no system call: it reaches nothing but the functions that it imports";
const NO_PROC: &str = "there is no /proc, and no process but the server's, which no import leads to";
const NO_SOCKETS: &str = "no import makes a socket; `there_is_no_network` tries those there are";
const NO_ABILITY: &str = "the class does not declare the ability";
const NO_BLANK: &str =
    "a fresh instance takes less time than finding one that was started ahead, so that none is";
const NO_FORK: &str = "a fork of a handler's memory would take as long as a fresh one";
const NO_CRASH: &str =
    "a module cannot crash its process: a trap is an exception; `forged_frames_are_only_output` has the rest";

macro_rules! inapplicable {
    ($($reason:ident: $($rule:ident)+;)+) => {
        const INAPPLICABLE: &[Inapplicable] = &[$($(Inapplicable {
            rule: stringify!($rule),
            reason: $reason,
        },)+)+];
    };
}

inapplicable! {
    NO_BLANK: a_blank_instance_becomes_a_warm_one a_blank_instance_runs_a_program_like_any_other
        a_blank_instance_that_is_stopped_leaves_nothing;
    NO_FORK: a_forked_call_sees_nothing_of_the_one_before;
    NO_SIGNALS: a_signal_arrives_as_it_is;
    NO_SHARED_MEMORY: shared_memory_files_are_limited_by_memory anonymous_files_are_limited_by_memory
        system_v_memory_is_limited files_in_shm_are_limited shared_memory_of_the_host_is_out_of_reach;
    NO_PROCESSES: the_number_of_processes_is_limited the_number_of_threads_is_limited zombies_are_limited_and_do_not_stay
        orphans_are_reaped a_fork_bomb_is_contained a_detached_child_does_not_hold_up_the_end
        a_program_that_kills_everything_ends_alone;
    NO_ABILITY: a_command_ends_as_it_ends a_commands_output_arrives_whole a_command_gets_its_input_environment_and_folder
        a_command_runs_beside_the_program a_command_that_is_not_there_is_refused a_stop_ends_commands_too
        a_written_file_is_read_back the_program_sees_what_was_written_and_the_other_way_round
        a_file_beyond_the_limit_is_refused an_endless_file_is_refused a_file_that_is_not_there_is_refused
        a_path_that_cannot_be_a_file_is_refused a_fifo_holds_nobody_up a_link_does_not_lead_out
        paths_of_the_host_lead_nowhere what_is_shared_is_not_written_through_the_agent;
    NO_CRASH: forged_frames_change_nothing a_claimed_result_does_not_hide_the_end;
    NO_SOCKETS: the_loopback_interface_works_inside packet_and_raw_sockets_are_refused netlink_is_refused
        rare_kinds_of_sockets_are_refused unix_sockets_of_the_host_are_out_of_reach tcp_is_closed
        udp_and_name_resolution_are_closed icmp_is_closed_and_there_is_no_interface;
    NO_PROC: the_agents_binary_cannot_be_overwritten no_folder_of_the_host_is_left_open
        the_agents_environment_is_out_of_reach the_agent_cannot_be_traced the_agent_survives_every_signal
        processes_of_the_host_are_out_of_reach kernel_settings_cannot_be_changed files_of_sys_cannot_be_changed
        the_identity_of_the_machine_is_hidden the_set_up_of_the_host_is_hidden secrets_of_the_kernel_are_out_of_reach
        what_instances_share_cannot_be_changed devices_of_the_host_are_out_of_reach;
    NO_SYSTEM_CALLS: other_namespaces_cannot_be_entered no_namespace_can_be_made nothing_can_be_mounted
        neither_root_nor_device_nodes_can_be_changed cgroups_cannot_be_changed kernel_modules_cannot_be_loaded
        the_machine_cannot_be_controlled clocks_cannot_be_set the_hosts_name_cannot_be_changed no_rights_can_be_taken_back
        set_uid_programs_give_nothing memory_layout_cannot_be_weakened other_doors_of_the_kernel_are_closed
        rare_system_calls_are_refused the_filter_of_system_calls_stays limits_cannot_be_raised
        others_cannot_be_made_to_die_first shared_files_cannot_be_changed_through_memory bpf_is_refused io_uring_is_refused
        keyrings_are_refused userfaultfd_is_refused performance_counters_are_refused no_terminal_can_be_typed_into
        files_cannot_be_opened_by_handle;
}
