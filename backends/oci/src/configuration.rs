//! The bundle's configuration: what both classes have in common, and where they differ.
//!
//! It is made once per backend: what differs from instance to instance (layers, ids, limits) comes by other ways.
//! Source: opencontainers/runtime-spec, config.md and config-linux.md, version 1.0.2.

use std::{collections::HashMap, io};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use oci_spec::{
    OciSpecError,
    runtime::{
        Capability, Linux, LinuxCapabilitiesBuilder, LinuxIdMapping, LinuxIdMappingBuilder,
        LinuxNamespaceBuilder, LinuxNamespaceType, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArgBuilder,
        LinuxSeccompBuilder, LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder, Mount, MountBuilder,
        PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process, ProcessBuilder, RootBuilder, SpecBuilder,
        UserBuilder,
    },
};
use vulcan_host::{
    AllowedCall, Condition, allowed_list, filter_bytes,
    launcher::{GUEST_ID, bundle},
};

use crate::furniture::AGENT_PLACE;

/// What the agent may do as user 0 of its user namespace: act for the owner of any file, and become any user. Programs keep
/// less: see the agent.
const CAPABILITIES: [Capability; 9] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::NetBindService,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
];

/// What of /proc tells about the host, or changes it: the list of container engines (moby, oci/defaults.go) and a little more.
const MASKED: [&str; 22] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/bootconfig",
    "/proc/buddyinfo",
    "/proc/bus",
    "/proc/cmdline",
    "/proc/config.gz",
    "/proc/diskstats",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/modules",
    "/proc/partitions",
    "/proc/pressure",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/proc/vmallocinfo",
];
const READ_ONLY: [&str; 3] = ["/proc/fs", "/proc/irq", "/proc/sys"];

const NOT_PERMITTED: u32 = rustix::io::Errno::PERM.raw_os_error().unsigned_abs();

/// Calls that programs in gVisor may not make: mounts, namespaces, tracing and memory of others, keys, clocks, modules, and
/// whatever else the sandbox's list leaves out and has a history of holes.
const REFUSED_BY_GVISOR: [&str; 56] = [
    "acct",
    "add_key",
    "adjtimex",
    "bpf",
    "chroot",
    "clock_adjtime",
    "clock_settime",
    "delete_module",
    "fanotify_init",
    "fanotify_mark",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "get_mempolicy",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "mbind",
    "migrate_pages",
    "mount",
    "mount_setattr",
    "move_mount",
    "move_pages",
    "name_to_handle_at",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pidfd_getfd",
    "pivot_root",
    "process_madvise",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "quotactl",
    "reboot",
    "request_key",
    "set_mempolicy",
    "setdomainname",
    "sethostname",
    "setns",
    "settimeofday",
    "swapon",
    "syslog",
    "umount2",
    "unshare",
    "userfaultfd",
];

/// Arguments that calls of programs in gVisor may not have: sockets of the kernel (netlink) and of whole packets (linux/socket.h),
/// and limits and priorities of other processes.
const REFUSED_ARGUMENTS: [(&str, u32, LinuxSeccompOperator, u32); 5] = [
    ("socket", 0, LinuxSeccompOperator::ScmpCmpEq, 16),
    ("socket", 0, LinuxSeccompOperator::ScmpCmpEq, 17),
    ("socketpair", 0, LinuxSeccompOperator::ScmpCmpNe, 1),
    ("prlimit64", 0, LinuxSeccompOperator::ScmpCmpNe, 0),
    ("setpriority", 1, LinuxSeccompOperator::ScmpCmpNe, 0),
];

/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET (linux/sched.h).
const NEW_NAMESPACES: [u64; 7] = [
    0x0002_0000,
    0x0200_0000,
    0x0400_0000,
    0x0800_0000,
    0x1000_0000,
    0x2000_0000,
    0x4000_0000,
];

/// What runs the instance's programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// The host's: everything that its programs do not need is closed.
    Host,
    /// gVisor's own, which has devices, /proc and filters of its own.
    Gvisor,
}

/// How a runtime is given the filter of system calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter {
    /// Compiled, in crun's annotation, which saves the compiling of every start.
    Compiled,
    /// As a list.
    Listed,
}

/// What differs between runtimes and options.
pub(crate) struct Terms<'a> {
    pub(crate) kernel: Kernel,
    pub(crate) filter: Filter,
    pub(crate) id_count: u32,
    pub(crate) open_files_max: u64,
    pub(crate) extra_calls: &'a [String],
}

/// Returns the text of `config.json`.
pub(crate) fn configuration(terms: &Terms<'_>) -> io::Result<String> {
    let spec = || -> Result<_, OciSpecError> {
        SpecBuilder::default()
            .version("1.0.2")
            .root(
                RootBuilder::default()
                    .path(bundle::ROOT)
                    .readonly(false)
                    .build()?,
            )
            .process(process(terms)?)
            .mounts(mounts(terms.kernel)?)
            .linux(linux(terms)?)
            .build()
    };
    let mut spec = spec().map_err(io::Error::other)?;
    // The builder's defaults are for somebody else's containers.
    spec.set_hostname(match terms.kernel {
        Kernel::Host => None,
        Kernel::Gvisor => Some(crate::launcher::HOSTNAME.to_owned()),
    });
    if terms.filter == Filter::Compiled {
        let bytes = BASE64_STANDARD.encode(filter_bytes()?);
        let annotation = ("run.oci.seccomp_bpf_data".to_owned(), bytes);
        spec.set_annotations(Some(HashMap::from([annotation])));
    }
    Ok(serde_json::to_string(&spec)?)
}

fn process(terms: &Terms<'_>) -> Result<Process, OciSpecError> {
    let held: std::collections::HashSet<Capability> = CAPABILITIES.into_iter().collect();
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(held.clone())
        .effective(held.clone())
        .permitted(held)
        .inheritable(std::collections::HashSet::new())
        .ambient(std::collections::HashSet::new())
        .build()?;
    let code = format!("{GUEST_ID}:{GUEST_ID}");
    ProcessBuilder::default()
        .terminal(false)
        .user(UserBuilder::default().uid(0_u32).gid(0_u32).build()?)
        .args([AGENT_PLACE, "--as", &code].map(str::to_owned))
        .env(Vec::new())
        .cwd("/")
        .capabilities(capabilities)
        .rlimits(rlimits(terms)?)
        .no_new_privileges(true)
        .build()
}

fn rlimits(terms: &Terms<'_>) -> Result<Vec<PosixRlimit>, OciSpecError> {
    const LOCKED_MEMORY_BYTES: u64 = 64 * 1024;
    const MESSAGE_QUEUE_BYTES: u64 = 64 * 1024;
    let limits = [
        (PosixRlimitType::RlimitNofile, terms.open_files_max),
        (PosixRlimitType::RlimitCore, 0),
        (PosixRlimitType::RlimitMemlock, LOCKED_MEMORY_BYTES),
        (PosixRlimitType::RlimitMsgqueue, MESSAGE_QUEUE_BYTES),
    ];
    let limit = |(kind, value): (PosixRlimitType, u64)| {
        PosixRlimitBuilder::default()
            .typ(kind)
            .hard(value)
            .soft(value)
            .build()
    };
    limits.into_iter().map(limit).collect()
}

fn mounts(kernel: Kernel) -> Result<Vec<Mount>, OciSpecError> {
    let proc = ("proc", "proc", "/proc", &["nosuid", "noexec", "nodev"][..]);
    let devices = (
        "bind",
        bundle::DEVICES,
        "/dev",
        &["bind", "ro", "nosuid", "noexec"][..],
    );
    let shared = ["bind", "nosuid", "nodev", "noexec"];
    let shared = ("bind", bundle::SHARED_MEMORY, "/dev/shm", &shared[..]);
    let temporary = (
        "bind",
        bundle::TEMPORARY,
        "/tmp",
        &["bind", "nosuid", "nodev"][..],
    );
    let system = ("sysfs", "sysfs", "/sys", &["ro", "nosuid", "noexec", "nodev"][..]);
    // A part of the root, over itself.
    let agent_in_root = format!("{}{AGENT_PLACE}", bundle::ROOT);
    let agent = ["bind", "ro", "nosuid", "nodev"];
    let agent = ("bind", agent_in_root.as_str(), AGENT_PLACE, &agent[..]);
    let all = match kernel {
        Kernel::Host => vec![proc, devices, shared, agent],
        // It makes devices of its own, and would put folders of its own where these two are.
        Kernel::Gvisor => vec![proc, shared, agent, temporary, system],
    };
    all.into_iter()
        .map(|(kind, source, destination, options)| {
            let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
            MountBuilder::default()
                .typ(kind)
                .source(source)
                .destination(destination)
                .options(options)
                .build()
        })
        .collect()
}

fn linux(terms: &Terms<'_>) -> Result<Linux, OciSpecError> {
    // Network, IPC and host name are in namespaces of the keeper: the instance has no rights over them at all.
    let kinds = [
        LinuxNamespaceType::User,
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Cgroup,
    ];
    let of_gvisor = [
        LinuxNamespaceType::Network,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
    ];
    let of_gvisor = of_gvisor.into_iter().filter(|_| terms.kernel == Kernel::Gvisor);
    let namespaces = kinds
        .into_iter()
        .chain(of_gvisor)
        .map(|kind| LinuxNamespaceBuilder::default().typ(kind).build())
        .collect::<Result<Vec<_>, _>>()?;
    let mut linux = Linux::default();
    linux
        .set_namespaces(Some(namespaces))
        .set_uid_mappings(Some(vec![mapping(terms.id_count)?]))
        .set_gid_mappings(Some(vec![mapping(terms.id_count)?]))
        // The slot's control group limits everything in it.
        .set_resources(None)
        .set_masked_paths(Some(MASKED.map(str::to_owned).to_vec()))
        .set_readonly_paths(Some(READ_ONLY.map(str::to_owned).to_vec()));
    if terms.filter == Filter::Listed {
        linux.set_seccomp(Some(match terms.kernel {
            Kernel::Host => allowed(terms.extra_calls)?,
            Kernel::Gvisor => refused(terms.extra_calls)?,
        }));
    }
    Ok(linux)
}

fn mapping(count: u32) -> Result<LinuxIdMapping, OciSpecError> {
    LinuxIdMappingBuilder::default()
        .container_id(0_u32)
        .host_id(bundle::HOST_ID)
        .size(count)
        .build()
}

/// What a container may do: the list of the sandbox, and what the operator adds.
fn allowed(extra_calls: &[String]) -> Result<LinuxSeccomp, OciSpecError> {
    let (plain, checked): (Vec<AllowedCall>, Vec<AllowedCall>) = allowed_list()
        .into_iter()
        .partition(|call| call.condition.is_none());
    let names = plain.iter().map(|call| call.name.to_owned());
    let allowed = LinuxSyscallBuilder::default()
        .names(names.chain(extra_calls.iter().cloned()).collect::<Vec<_>>())
        .action(LinuxSeccompAction::ScmpActAllow)
        .build()?;
    // C libraries fall back to clone, whose flags can be checked.
    let absent = LinuxSyscallBuilder::default()
        .names(["clone3".to_owned()])
        .action(LinuxSeccompAction::ScmpActErrno)
        .errno_ret(rustix::io::Errno::NOSYS.raw_os_error().unsigned_abs())
        .build()?;
    let checked = checked
        .iter()
        .filter_map(|call| Some((call.name, call.condition?)))
        .map(|(name, condition)| checked_call(name, condition))
        .collect::<Result<Vec<_>, _>>()?;
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(NOT_PERMITTED)
        .syscalls([vec![allowed, absent], checked].concat())
        .build()
}

/// What a program in gVisor may not do, but for what the operator allows: what its kernel has and nobody needs in there.
///
/// The boundary is that kernel and the host's filter of it. A list of everything that is allowed, as for containers, has gVisor
/// compile a program of hundreds of steps at each start (14 ms) and interpret it at each call; what is refused is short.
fn refused(extra_calls: &[String]) -> Result<LinuxSeccomp, OciSpecError> {
    let refuse = |names: Vec<String>| {
        LinuxSyscallBuilder::default()
            .names(names)
            .action(LinuxSeccompAction::ScmpActErrno)
            .errno_ret(NOT_PERMITTED)
    };
    let is_extra = |name: &str| extra_calls.iter().any(|extra| extra == name);
    let names = REFUSED_BY_GVISOR.iter().filter(|name| !is_extra(name));
    let mut calls = vec![refuse(names.map(|name| (*name).to_owned()).collect()).build()?];
    for (name, argument, operator, value) in REFUSED_ARGUMENTS {
        if is_extra(name) {
            continue;
        }
        let check = check(argument).value(u64::from(value)).op(operator).build()?;
        calls.push(refuse(vec![name.to_owned()]).args([check]).build()?);
    }
    // Any of several bits is a question of its own for each.
    for bit in NEW_NAMESPACES.iter().filter(|_| !is_extra("clone")) {
        let check = check(0)
            .value(*bit)
            .value_two(*bit)
            .op(LinuxSeccompOperator::ScmpCmpMaskedEq)
            .build()?;
        calls.push(refuse(vec!["clone".to_owned()]).args([check]).build()?);
    }
    // gVisor refuses with EPERM whatever is asked for, upon which C libraries start no thread; a call that is for a tracer, and
    // there is none, fails with ENOSYS (man 2 seccomp), upon which they use clone.
    let absent = LinuxSyscallBuilder::default()
        .names(["clone3".to_owned()])
        .action(LinuxSeccompAction::ScmpActTrace)
        .build()?;
    calls.push(absent);
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActAllow)
        .syscalls(calls)
        .build()
}

fn check(argument: u32) -> LinuxSeccompArgBuilder {
    LinuxSeccompArgBuilder::default().index(usize::try_from(argument).unwrap_or_default())
}

fn checked_call(name: &str, condition: Condition) -> Result<LinuxSyscall, OciSpecError> {
    // Of an argument's 64 bits the kernel takes the lower half for these calls; to look at all of them refuses more, never less.
    let check = match condition {
        Condition::Equals { argument, value } => check(argument)
            .value(value)
            .op(LinuxSeccompOperator::ScmpCmpEq)
            .build()?,
        Condition::HasNone { argument, bits } => check(argument)
            .value(bits)
            .value_two(0_u64)
            .op(LinuxSeccompOperator::ScmpCmpMaskedEq)
            .build()?,
    };
    LinuxSyscallBuilder::default()
        .names([name.to_owned()])
        .action(LinuxSeccompAction::ScmpActAllow)
        .args([check])
        .build()
}
