//! The definition of a backend, rule by rule, with a JavaScript translation of its acts.

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use async_trait::async_trait;
use vulcan_api::Program;
use vulcan_backend::{
    Backend,
    conformance::{Act, Broken, Ending, Harness, Inapplicable, Output},
};
use vulcan_backend_isolate::{Isolate, Options};

use crate::harness::{IDS_PER_HARNESS, options, program};

vulcan_backend::conformance_suite!(IsolateHarness::new());

const ACTS: &str = include_str!("acts.js");
const LAUNCHER: &str = "vulcan-launcher";

/// A backend, and what of it can be found on the host.
struct IsolateHarness {
    options: Options,
    mounts_before: BTreeSet<String>,
}

impl IsolateHarness {
    fn new() -> Self {
        Self {
            options: options(),
            mounts_before: mounts(),
        }
    }

    /// Finds processes of our instances: children of our launchers that have become something else.
    fn processes(&self) -> Vec<String> {
        let all = processes();
        let launchers: BTreeSet<u32> = all
            .iter()
            .filter(|process| process.name == LAUNCHER && process.parent == std::process::id())
            .map(|process| process.pid)
            .collect();
        let ids = self.options.outer_id_first..self.options.outer_id_first + IDS_PER_HARNESS;
        all.iter()
            .filter(|process| ids.contains(&process.uid) || launchers.contains(&process.parent))
            .filter(|process| process.name != LAUNCHER)
            .map(|process| format!("process {} ({})", process.pid, process.name))
            .collect()
    }
}

#[async_trait]
impl Harness for IsolateHarness {
    async fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(Isolate::new(self.options.clone()).unwrap())
    }

    fn program(&self, act: &Act) -> Option<Program> {
        if let Some(source) = handler(act) {
            return Some(program("main.js", &source));
        }
        let mut script = program("main.js", ACTS);
        script.args = argv(act)?;
        Some(script)
    }

    fn inapplicable(&self) -> &[Inapplicable] {
        INAPPLICABLE
    }

    async fn broken(&self) -> Vec<Broken> {
        let broken = |what: &str, options: Options| Broken {
            what: what.to_owned(),
            backend: Arc::new(
                Isolate::new(Options {
                    owner: format!("{}-{}", options.owner, what.replace(' ', "-")),
                    ..options
                })
                .unwrap(),
            ) as Arc<dyn Backend>,
        };
        vec![
            broken(
                "there are no slots",
                Options {
                    slots_max: 0,
                    ..self.options.clone()
                },
            ),
            broken(
                "Deno is not there",
                Options {
                    deno: Some("/nowhere/deno".into()),
                    ..self.options.clone()
                },
            ),
            broken(
                "Deno cannot open its files",
                Options {
                    open_files_max: 3,
                    ..self.options.clone()
                },
            ),
        ]
    }

    async fn leftovers(&self) -> Vec<String> {
        let mounts = mounts()
            .difference(&self.mounts_before)
            .map(|mount| format!("mount {mount}"))
            .collect();
        [self.processes(), mounts].concat()
    }
}

/// The module of an act that has a handler, or none that parses.
fn handler(act: &Act) -> Option<String> {
    Some(match act {
        Act::EchoInput => "export default (input) => input;".to_owned(),
        Act::Raise(message) => format!("export default () => {{ throw new Error({message:?}); }};"),
        Act::Unparsable => "export default (input => {\n  return;\n".to_owned(),
        Act::ReturnText { bytes } => format!("export default () => 'x'.repeat({bytes});"),
        Act::ReturnNan => "export default () => NaN;".to_owned(),
        Act::ReturnDigits(digits) => format!("export default () => 10n ** {}n;", digits.saturating_sub(1)),
        Act::ReturnNested(depth) => format!(
            "export default () => {{ let value = null; for (let i = 0; i < {depth}; i++) value = [value]; return value; }};"
        ),
        Act::ReturnSurrogate => "export default () => '\\ud800';".to_owned(),
        Act::Serve => "console.log('loaded'); let calls = 0;\n\
                       export default (input) => {\n  console.log(input);\n  if (input === 'raise') throw new Error(input);\n  \
                       if (input === 'hang') for (;;);\n  return ++calls;\n};"
            .to_owned(),
        _ => return None,
    })
}

/// The arguments of `acts.js`: the act's name, then its own. `None` for what needs files, processes or signals.
fn argv(act: &Act) -> Option<Vec<String>> {
    let (name, args): (&str, Vec<String>) = match act {
        Act::Exit(code) => ("exit", vec![code.to_string()]),
        Act::PrintOrdered { lines } => ("print_ordered", vec![lines.to_string()]),
        Act::Flood { bytes, stream } => ("flood", vec![bytes.to_string(), name_of(*stream)]),
        Act::PrintRaw { bytes, stream } => {
            let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            ("print_raw", vec![hex, name_of(*stream)])
        }
        Act::EndlessLines => ("endless_lines", Vec::new()),
        Act::EndlessLine => ("endless_line", Vec::new()),
        Act::CopyInput => ("copy_input", Vec::new()),
        Act::PrintNested(depth) => ("print_nested", vec![depth.to_string()]),
        Act::Sleep => ("sleep", Vec::new()),
        Act::SleepFor { millis } => ("sleep_for", vec![millis.to_string()]),
        Act::SpinIgnoringSigterm => ("spin_ignoring_sigterm", Vec::new()),
        Act::SpinFor { cpu_millis } => ("spin_for", vec![cpu_millis.to_string()]),
        Act::AllocateHeap { mib } => ("allocate_heap", vec![mib.to_string()]),
        Act::AllocateAtOnce { mib } => ("allocate_at_once", vec![mib.to_string()]),
        Act::KillEverything => ("kill_everything", Vec::new()),
        Act::PrintArgs(texts) => ("print_args", texts.clone()),
        Act::PrintEnv => ("print_env", Vec::new()),
        Act::ForgeFrames(Ending::Crash | Ending::Seven) => return None,
        _ => return None,
    };
    Some(std::iter::once(name.to_owned()).chain(args).collect())
}

fn name_of(stream: Output) -> String {
    stream.as_str().to_owned()
}

macro_rules! inapplicable {
    ($($reason:literal: $($rule:ident)+;)+) => {
        const INAPPLICABLE: &[Inapplicable] = &[$($(Inapplicable {
            rule: stringify!($rule),
            reason: $reason,
        },)+)+];
    };
}

inapplicable! {
    "a program is no process of its own, and has no permission to send signals": a_signal_arrives_as_it_is;
    "numbers of JavaScript are doubles": integers_keep_their_digits;
    "without a permission there are no files":
        temporary_files_are_limited_by_memory shared_memory_files_are_limited_by_memory
        files_in_the_working_directory_are_limited files_in_tmp_are_limited files_in_shm_are_limited
        reserved_space_is_limited a_sparse_file_takes_no_space the_number_of_files_is_limited deep_folders_do_not_stay
        the_number_of_open_files_is_limited what_is_left_behind_is_not_found_by_the_next;
    "JavaScript makes no system calls": anonymous_files_are_limited_by_memory system_v_memory_is_limited;
    "without a permission there are no processes, and threads are not offered":
        the_number_of_processes_is_limited the_number_of_threads_is_limited zombies_are_limited_and_do_not_stay
        orphans_are_reaped a_fork_bomb_is_contained a_detached_child_does_not_hold_up_the_end
        a_stop_ends_what_ignores_every_signal dropping_the_last_reference_leaves_nothing;
    "the class runs no commands":
        a_command_ends_as_it_ends a_commands_output_arrives_whole a_command_gets_its_input_environment_and_folder
        a_command_runs_beside_the_program a_command_that_is_not_there_is_refused a_stop_ends_commands_too;
    "the class moves no files":
        a_written_file_is_read_back the_program_sees_what_was_written_and_the_other_way_round
        a_file_beyond_the_limit_is_refused an_endless_file_is_refused a_file_that_is_not_there_is_refused
        a_path_that_cannot_be_a_file_is_refused a_fifo_holds_nobody_up a_link_does_not_lead_out
        paths_of_the_host_lead_nowhere what_is_shared_is_not_written_through_the_agent;
    "without a permission there is no network":
        neighbours_do_not_see_each_other the_loopback_interface_works_inside;
    "program and host script share a process: a program can lie about itself, and about nobody else":
        forged_frames_change_nothing a_claimed_result_does_not_hide_the_end;
    "a loaded handler cannot be forked": a_forked_call_sees_nothing_of_the_one_before;
    "the attack is a Python program; the sandbox's suite plays it in the same box of the same launcher":
        host_files_are_out_of_reach secrets_and_state_of_the_host_are_out_of_reach what_instances_share_cannot_be_changed
        the_agents_binary_cannot_be_overwritten no_folder_of_the_host_is_left_open no_descriptor_of_the_host_is_left_open
        the_agents_environment_is_out_of_reach the_agent_cannot_be_traced the_agent_survives_every_signal
        processes_of_the_host_are_out_of_reach other_namespaces_cannot_be_entered no_namespace_can_be_made
        nothing_can_be_mounted neither_root_nor_device_nodes_can_be_changed cgroups_cannot_be_changed
        kernel_settings_cannot_be_changed files_of_sys_cannot_be_changed kernel_modules_cannot_be_loaded
        the_machine_cannot_be_controlled clocks_cannot_be_set the_hosts_name_cannot_be_changed no_rights_can_be_taken_back
        set_uid_programs_give_nothing memory_layout_cannot_be_weakened other_doors_of_the_kernel_are_closed
        rare_system_calls_are_refused the_filter_of_system_calls_stays limits_cannot_be_raised
        others_cannot_be_made_to_die_first shared_files_cannot_be_changed_through_memory bpf_is_refused io_uring_is_refused
        keyrings_are_refused userfaultfd_is_refused performance_counters_are_refused packet_and_raw_sockets_are_refused
        netlink_is_refused rare_kinds_of_sockets_are_refused no_terminal_can_be_typed_into
        unix_sockets_of_the_host_are_out_of_reach shared_memory_of_the_host_is_out_of_reach
        devices_of_the_host_are_out_of_reach secrets_of_the_kernel_are_out_of_reach the_identity_of_the_machine_is_hidden
        the_set_up_of_the_host_is_hidden files_cannot_be_opened_by_handle tcp_is_closed udp_and_name_resolution_are_closed
        icmp_is_closed_and_there_is_no_interface;
}

fn mounts() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mounts").unwrap();
    text.lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(str::to_owned)
        .collect()
}

struct Process {
    pid: u32,
    parent: u32,
    uid: u32,
    name: String,
}

fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    // One that ends in between is no leftover.
    entries.filter_map(|entry| process(&entry.path())).collect()
}

fn process(folder: &Path) -> Option<Process> {
    let pid = folder.file_name()?.to_str()?.parse().ok()?;
    let status = fs::read_to_string(folder.join("status")).ok()?;
    let field = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next().map(str::to_owned)
    };
    let arguments = fs::read(folder.join("cmdline")).ok()?;
    // One without memory is over: its launcher reaps it at its next turn.
    let first = arguments
        .split(|byte| *byte == 0)
        .next()
        .filter(|name| !name.is_empty())?;
    Some(Process {
        pid,
        parent: field("PPid:")?.parse().ok()?,
        uid: field("Uid:")?.parse().ok()?,
        name: String::from_utf8_lossy(first).into_owned(),
    })
}
