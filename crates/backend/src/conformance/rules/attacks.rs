//! One rule per attack: it works where nothing is in its way, as far as that can be shown, and not in an instance.

use crate::conformance::{Stage, Verdict};

macro_rules! attacks {
    ($($(#[$doc:meta])* $rule:ident: $name:literal;)+) => {
        $(
            $(#[$doc])*
            pub async fn $rule(stage: &Stage) -> Verdict {
                stage.attack($name).await
            }
        )+
    };
}

attacks! {
    /// Files of the host can neither be read nor changed, by any way round.
    host_files_are_out_of_reach: "host_files";
    /// Nothing of /root, /home, /var, /boot and the secrets in /etc is there.
    secrets_and_state_of_the_host_are_out_of_reach: "host_secrets";
    /// Programs, libraries, settings and device nodes are read-only.
    what_instances_share_cannot_be_changed: "read_only_base";
    /// CVE-2019-5736: /proc/PID/exe leads to nothing that can be written.
    the_agents_binary_cannot_be_overwritten: "overwrite_the_agent";
    /// CVE-2024-21626: neither a working directory nor a descriptor leads out.
    no_folder_of_the_host_is_left_open: "folder_left_open";
    /// A program has its three streams, and the agent's descriptors are not to be had.
    no_descriptor_of_the_host_is_left_open: "leaked_descriptors";
    /// Neither the agent's environment nor its parents' can be read.
    the_agents_environment_is_out_of_reach: "environment_of_the_host";
    /// ptrace, process_vm, pidfd_getfd and /proc/PID lead into no process but the program's own.
    the_agent_cannot_be_traced: "trace_the_agent";
    /// Every signal to the first process is dropped.
    the_agent_survives_every_signal: "kill_the_agent";
    /// No process of the host is seen or signalled.
    processes_of_the_host_are_out_of_reach: "host_processes";
    /// setns leads nowhere.
    other_namespaces_cannot_be_entered: "foreign_namespaces";
    /// No namespace of any kind, by unshare, clone and clone3.
    no_namespace_can_be_made: "nested_user_namespaces";
    /// Neither the old calls nor the new ones change what is mounted.
    nothing_can_be_mounted: "mounts";
    /// No chroot, no device nodes.
    neither_root_nor_device_nodes_can_be_changed: "roots_and_nodes";
    /// CVE-2022-0492 and plainer ways: no cgroup can be mounted, made, or written.
    cgroups_cannot_be_changed: "cgroups";
    /// core_pattern, modprobe, sysrq and all of /proc/sys are read-only.
    kernel_settings_cannot_be_changed: "kernel_settings";
    /// Nothing below /sys can be written.
    files_of_sys_cannot_be_changed: "system_files";
    /// Neither loading nor removing.
    kernel_modules_cannot_be_loaded: "kernel_modules";
    /// No reboot, kexec, swap, accounting, quota, ports.
    the_machine_cannot_be_controlled: "machine_controls";
    /// No clock of the machine can be set or slewed.
    clocks_cannot_be_set: "clocks";
    /// Neither the host's name nor the instance's own.
    the_hosts_name_cannot_be_changed: "names";
    /// No uid 0, no capability in any set.
    no_rights_can_be_taken_back: "root_rights";
    /// A set-uid program runs with the rights of its caller.
    set_uid_programs_give_nothing: "set_uid_programs";
    /// personality(2) weakens nothing.
    memory_layout_cannot_be_weakened: "personalities";
    /// 32-bit calls, x32 and modify_ldt.
    other_doors_of_the_kernel_are_closed: "foreign_system_calls";
    /// What has no place in an instance is refused before the kernel looks at it.
    rare_system_calls_are_refused: "rare_system_calls";
    /// It can be neither removed, outvoted nor lost by exec.
    the_filter_of_system_calls_stays: "filters_of_system_calls";
    /// Neither the program's nor the agent's.
    limits_cannot_be_raised: "limits";
    /// Neither by lowering one's own score nor by raising the agent's.
    others_cannot_be_made_to_die_first: "oom_scores";
    /// Mappings and /proc/self/mem change no shared file.
    shared_files_cannot_be_changed_through_memory: "own_memory";
    /// No maps, no programs.
    bpf_is_refused: "bpf";
    /// Its operations would pass by the filter.
    io_uring_is_refused: "io_uring";
    /// The kernel's keyrings are shared by all users of a uid.
    keyrings_are_refused: "keyrings";
    /// The way to win races inside of the kernel.
    userfaultfd_is_refused: "userfaultfd";
    /// Neither counters nor tracepoints.
    performance_counters_are_refused: "perf_events";
    /// AF_PACKET, raw IP, tun.
    packet_and_raw_sockets_are_refused: "packet_sockets";
    /// AF_NETLINK of every protocol.
    netlink_is_refused: "netlink_sockets";
    /// AF_VSOCK, AF_ALG and whatever else nobody needs.
    rare_kinds_of_sockets_are_refused: "rare_sockets";
    /// CVE-2017-5226: TIOCSTI and TIOCLINUX.
    no_terminal_can_be_typed_into: "terminals";
    /// Abstract ones, and those of container engines and services.
    unix_sockets_of_the_host_are_out_of_reach: "unix_sockets";
    /// System V and POSIX objects.
    shared_memory_of_the_host_is_out_of_reach: "shared_memory";
    /// /dev/kvm, /dev/mem, /dev/fuse, disks: nothing but null, zero, full, random, urandom and terminals of one's own.
    devices_of_the_host_are_out_of_reach: "devices";
    /// Addresses, memory, log, keys.
    secrets_of_the_kernel_are_out_of_reach: "kernel_secrets";
    /// DMI, serial numbers, addresses, the host's name.
    the_identity_of_the_machine_is_hidden: "hardware_identity";
    /// Boot parameters, modules, disks, paths of the host.
    the_set_up_of_the_host_is_hidden: "host_inventory";
    /// The 'shocker' attack: open_by_handle_at.
    files_cannot_be_opened_by_handle: "file_handles";
    /// Host, private networks, metadata, internet: no connection, and no packet leaves.
    tcp_is_closed: "network_tcp";
    /// No datagram leaves, and no name is resolved.
    udp_and_name_resolution_are_closed: "network_udp";
    /// No echo, no interface but the loopback, no route.
    icmp_is_closed_and_there_is_no_interface: "network_icmp";
}
