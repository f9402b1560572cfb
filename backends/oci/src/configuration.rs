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
        linux.set_seccomp(Some(seccomp(terms)?));
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

/// The list of the sandbox, and what the operator adds.
fn seccomp(terms: &Terms<'_>) -> Result<LinuxSeccomp, OciSpecError> {
    let (plain, checked): (Vec<AllowedCall>, Vec<AllowedCall>) = allowed_list()
        .into_iter()
        .partition(|call| call.condition.is_none());
    // gVisor answers whatever is not allowed with EPERM, upon which C libraries do not fall back to clone: no thread would start.
    // What clone3 can make there are namespaces of gVisor's own kernel.
    let of_gvisor = (terms.kernel == Kernel::Gvisor).then_some("clone3");
    let names = plain
        .iter()
        .map(|call| call.name)
        .chain(of_gvisor)
        .map(str::to_owned);
    let allowed = LinuxSyscallBuilder::default()
        .names(names.chain(terms.extra_calls.iter().cloned()).collect::<Vec<_>>())
        .action(LinuxSeccompAction::ScmpActAllow)
        .build()?;
    // C libraries fall back to clone, whose flags can be checked.
    let absent = match terms.kernel {
        Kernel::Gvisor => Vec::new(),
        Kernel::Host => vec![
            LinuxSyscallBuilder::default()
                .names(["clone3".to_owned()])
                .action(LinuxSeccompAction::ScmpActErrno)
                .errno_ret(rustix::io::Errno::NOSYS.raw_os_error().unsigned_abs())
                .build()?,
        ],
    };
    let checked = checked
        .iter()
        .filter_map(|call| Some((call.name, call.condition?)))
        .map(|(name, condition)| checked_call(name, condition))
        .collect::<Result<Vec<_>, _>>()?;
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(rustix::io::Errno::PERM.raw_os_error().unsigned_abs())
        .syscalls([vec![allowed], absent, checked].concat())
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
