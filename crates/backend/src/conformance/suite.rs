//! The list of all rules, and how one of them is played.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
};

use super::{Harness, Inapplicable, Stage, Verdict};

/// Names every rule once; `conformance_suite!` and [`RULES`] are made of it.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_rules {
    ($callback:ident, $($context:tt)*) => {
        $crate::$callback! {
            $($context)*
            exits::{
                an_exit_code_arrives_as_it_is,
                a_signal_arrives_as_it_is,
                a_program_that_does_not_parse_is_the_programs_failure,
            }
            outputs::{
                lines_arrive_whole_and_in_order_on_both_streams,
                ten_megabytes_arrive_though_the_program_is_gone_at_once,
                output_without_a_line_end_arrives,
                bytes_that_are_no_text_arrive_as_they_are,
                terminal_escapes_arrive_as_data,
                a_program_cannot_forge_the_platforms_lines,
                a_reader_that_is_gone_does_not_harm_the_program,
                a_reader_that_never_reads_holds_up_the_program_and_not_the_host,
                a_line_without_end_is_never_held_in_memory,
                output_without_end_is_never_held_in_memory,
            }
            modes::{
                a_handler_gets_its_input_and_gives_its_output,
                integers_keep_their_digits,
                a_handler_without_input_gets_null,
                a_large_input_arrives_whole,
                a_script_gets_its_input_on_standard_input,
                a_scripts_output_is_its_result_only_as_one_json_value,
                a_handler_that_throws_is_an_exception_with_its_words,
                an_output_of_the_cap_arrives,
                an_output_beyond_the_cap_is_an_error_of_its_own,
                not_a_number_is_no_output,
                a_lone_surrogate_is_no_output,
                a_number_beyond_all_bounds_is_no_output,
                nesting_without_end_harms_nobody,
                arguments_and_environment_arrive_exactly,
            }
            memory::{
                the_heap_is_limited,
                one_large_allocation_is_limited,
                temporary_files_are_limited_by_memory,
                shared_memory_files_are_limited_by_memory,
                anonymous_files_are_limited_by_memory,
                system_v_memory_is_limited,
                an_absurd_allocation_is_the_programs_failure,
                memory_within_the_limit_is_given,
            }
            processes::{
                the_number_of_processes_is_limited,
                the_number_of_threads_is_limited,
                zombies_are_limited_and_do_not_stay,
                orphans_are_reaped,
                a_fork_bomb_is_contained,
                the_number_of_open_files_is_limited,
                a_detached_child_does_not_hold_up_the_end,
                a_stop_ends_what_ignores_every_signal,
                a_program_that_kills_everything_ends_alone,
            }
            disk::{
                files_in_the_working_directory_are_limited,
                files_in_tmp_are_limited,
                files_in_shm_are_limited,
                reserved_space_is_limited,
                a_sparse_file_takes_no_space,
                the_number_of_files_is_limited,
                deep_folders_do_not_stay,
            }
            lifecycle::{
                a_probe_finds_a_usable_backend_and_changes_nothing,
                declared_abilities_and_accessors_agree,
                an_unused_instance_leaves_nothing,
                a_second_stop_is_harmless,
                stops_at_the_same_time_are_harmless,
                any_number_of_callers_wait_for_the_end,
                an_invocation_that_is_stopped_says_so,
                a_stopped_instance_refuses_programs,
                dropping_the_last_reference_leaves_nothing,
                dropping_a_start_leaves_nothing,
                dropping_an_invocation_leaves_the_program_running,
                a_failed_start_leaves_nothing,
                an_instance_does_not_enforce_the_timeout,
                an_instance_that_is_kept_runs_another_program,
                fifty_instances_in_a_row_leave_nothing,
                sixteen_instances_at_once_leave_nothing,
                an_unknown_instance_is_not_adopted,
                a_sweep_of_nothing_is_harmless,
            }
            commands::{
                a_command_ends_as_it_ends,
                a_commands_output_arrives_whole,
                a_command_gets_its_input_environment_and_folder,
                a_command_runs_beside_the_program,
                a_command_that_is_not_there_is_refused,
                a_stop_ends_commands_too,
            }
            transfers::{
                a_written_file_is_read_back,
                the_program_sees_what_was_written_and_the_other_way_round,
                a_file_beyond_the_limit_is_refused,
                an_endless_file_is_refused,
                a_file_that_is_not_there_is_refused,
                a_path_that_cannot_be_a_file_is_refused,
                a_fifo_holds_nobody_up,
                a_link_does_not_lead_out,
                paths_of_the_host_lead_nowhere,
                what_is_shared_is_not_written_through_the_agent,
            }
            surroundings::{
                the_hosts_environment_does_not_arrive,
                what_is_left_behind_is_not_found_by_the_next,
                neighbours_do_not_see_each_other,
                the_loopback_interface_works_inside,
            }
            reuse::{
                a_blank_instance_runs_a_program_like_any_other,
                a_blank_instance_that_is_stopped_leaves_nothing,
                a_blank_instance_becomes_a_warm_one,
                a_warm_call_sees_what_the_one_before_left,
                a_calls_log_holds_its_own_lines_and_all_of_them,
                an_exception_leaves_the_handler_loaded,
                a_failed_load_leaves_nothing_loaded,
                a_script_is_run_warm_once,
                a_forked_call_sees_nothing_of_the_one_before,
                the_stop_of_a_kept_instance_ends_a_running_call,
                usage_grows_from_call_to_call,
                kept_instances_know_nothing_of_each_other,
            }
            usages::{
                processor_time_is_counted,
                the_peak_of_memory_is_counted,
                usage_is_told_at_any_time,
            }
            forgeries::{
                forged_frames_change_nothing,
                a_claimed_result_does_not_hide_the_end,
                a_hostile_archive_stays_inside,
            }
            attacks::{
                host_files_are_out_of_reach,
                secrets_and_state_of_the_host_are_out_of_reach,
                what_instances_share_cannot_be_changed,
                the_agents_binary_cannot_be_overwritten,
                no_folder_of_the_host_is_left_open,
                no_descriptor_of_the_host_is_left_open,
                the_agents_environment_is_out_of_reach,
                the_agent_cannot_be_traced,
                the_agent_survives_every_signal,
                processes_of_the_host_are_out_of_reach,
                other_namespaces_cannot_be_entered,
                no_namespace_can_be_made,
                nothing_can_be_mounted,
                neither_root_nor_device_nodes_can_be_changed,
                cgroups_cannot_be_changed,
                kernel_settings_cannot_be_changed,
                files_of_sys_cannot_be_changed,
                kernel_modules_cannot_be_loaded,
                the_machine_cannot_be_controlled,
                clocks_cannot_be_set,
                the_hosts_name_cannot_be_changed,
                no_rights_can_be_taken_back,
                set_uid_programs_give_nothing,
                memory_layout_cannot_be_weakened,
                other_doors_of_the_kernel_are_closed,
                rare_system_calls_are_refused,
                the_filter_of_system_calls_stays,
                limits_cannot_be_raised,
                others_cannot_be_made_to_die_first,
                shared_files_cannot_be_changed_through_memory,
                bpf_is_refused,
                io_uring_is_refused,
                keyrings_are_refused,
                userfaultfd_is_refused,
                performance_counters_are_refused,
                packet_and_raw_sockets_are_refused,
                netlink_is_refused,
                rare_kinds_of_sockets_are_refused,
                no_terminal_can_be_typed_into,
                unix_sockets_of_the_host_are_out_of_reach,
                shared_memory_of_the_host_is_out_of_reach,
                devices_of_the_host_are_out_of_reach,
                secrets_of_the_kernel_are_out_of_reach,
                the_identity_of_the_machine_is_hidden,
                the_set_up_of_the_host_is_hidden,
                files_cannot_be_opened_by_handle,
                tcp_is_closed,
                udp_and_name_resolution_are_closed,
                icmp_is_closed_and_there_is_no_interface,
            }
        }
    };
}

/// Makes one `#[test]` per rule of the conformance suite.
///
/// Takes an expression that makes a [`Harness`]; it is evaluated anew for every rule, inside of a tokio runtime. Use it in
/// a module of its own.
#[macro_export]
macro_rules! conformance_suite {
    ($harness:expr $(,)?) => {
        $crate::__conformance_rules! { __conformance_tests, [$harness] }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    ([$harness:expr] $($room:ident::{$($rule:ident,)+})+) => {
        $crate::__conformance_tests! { @flat [$harness] $($([$room $rule])+)+ }
    };
    (@flat [$harness:expr] $([$room:ident $rule:ident])+) => {
        $(
            #[test]
            fn $rule() {
                $crate::conformance::check(
                    stringify!($rule),
                    || ::std::boxed::Box::new($harness),
                    |stage| ::std::boxed::Box::pin($crate::conformance::rules::$room::$rule(stage)),
                );
            }
        )+

        #[test]
        fn what_is_said_to_be_inapplicable_is_a_rule() {
            $crate::conformance::check_exceptions(&$harness);
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_names {
    ([] $($room:ident::{$($rule:ident,)+})+) => {
        /// All rules: the room that each lives in, and its name.
        pub const RULES: &[(&str, &str)] = &[$($((stringify!($room), stringify!($rule)),)+)+];
    };
}

__conformance_rules! { __conformance_names, [] }

type Played<'a> = Pin<Box<dyn Future<Output = Verdict> + 'a>>;

/// Plays one rule before a harness, and checks afterwards that the host is as it was.
///
/// # Panics
///
/// When the rule is broken; when it does not apply and the harness does not say so; when it applies though the harness says
/// that it does not.
pub fn check(
    rule: &str,
    harness: impl FnOnce() -> Box<dyn Harness>,
    play: impl for<'a> FnOnce(&'a Stage) -> Played<'a>,
) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let stage = runtime.block_on(async { Stage::new(harness()).await });
    let played = catch_unwind(AssertUnwindSafe(|| runtime.block_on(play(&stage))));
    for note in stage.notes() {
        eprintln!("{rule}: {note}");
    }
    match played {
        Ok(verdict) => judge(rule, stage.harness(), verdict),
        Err(broken) => match named(stage.harness().otherwise(), rule) {
            Some(exception) => eprintln!("OTHERWISE: {rule}: {}", exception.reason),
            None => resume_unwind(broken),
        },
    }
    runtime.block_on(async {
        stage.expect_health().await;
        stage.clear().await;
    });
}

fn named<'a>(exceptions: &'a [Inapplicable], rule: &str) -> Option<&'a Inapplicable> {
    exceptions.iter().find(|exception| exception.rule == rule)
}

fn judge(rule: &str, harness: &dyn Harness, verdict: Verdict) {
    if let Some(exception) = named(harness.otherwise(), rule) {
        panic!(
            "'{rule}' is said to be broken ({}) and holds: take it off the list",
            exception.reason
        );
    }
    match (verdict, named(harness.inapplicable(), rule)) {
        (Ok(()), None) => {}
        (Ok(()), Some(exception)) => panic!(
            "'{rule}' is said to be inapplicable ({}) and holds: take it off the list",
            exception.reason
        ),
        (Err(_), Some(exception)) => eprintln!("NOT APPLICABLE: {rule}: {}", exception.reason),
        (Err(missing), None) => {
            panic!("the class lacks {missing:?}, and the harness does not name '{rule}' as inapplicable")
        }
    }
}

/// Checks that a harness' exceptions name rules and give reasons.
///
/// # Panics
///
/// When one does not.
#[doc(hidden)]
pub fn check_exceptions(harness: &dyn Harness) {
    for exception in harness.inapplicable().iter().chain(harness.otherwise()) {
        assert!(
            RULES.iter().any(|(_, rule)| *rule == exception.rule),
            "'{}' is no rule",
            exception.rule
        );
        assert!(
            !exception.reason.is_empty(),
            "'{}' needs a reason",
            exception.rule
        );
    }
}
