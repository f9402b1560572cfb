//! seccomp: which system calls may be made.
//!
//! An allow-list in the manner of Docker's default profile (moby, profiles/seccomp/default.json), without everything that a
//! program in a closed instance does not need: namespaces, mounts, tracing, keys, BPF, io_uring, userfaultfd, performance
//! counters, other socket families, clocks, modules. What is not listed fails with EPERM, so that a program can say so.

use std::io;

use seccompiler::apply_filter;

use super::filter::{self, Check, Verdict};

/// Names calls, with their numbers.
macro_rules! calls {
    ($($name:ident)+) => { [$((libc::$name, stringify!($name))),+] };
}

macro_rules! call {
    ($name:ident) => {
        (libc::$name, stringify!($name))
    };
}

/// A number, and the name of its constant.
type Call = (i64, &'static str);

/// A compiled filter; compiled once, applied by every child.
#[derive(Debug, Clone)]
pub(crate) struct SyscallFilter(seccompiler::BpfProgram);

/// Restricts this process and what it starts, for good. Needs no_new_privs.
pub(crate) fn restrict_syscalls(filter: &SyscallFilter) -> io::Result<()> {
    apply_filter(&filter.0).map_err(io::Error::other)
}

impl SyscallFilter {
    /// Compiles the list for this machine's architecture.
    pub(crate) fn compile() -> io::Result<Self> {
        filter::compile(&rules()).map(Self)
    }
}

/// Returns the filter as the kernel takes it: an array of `struct sock_filter` (linux/filter.h), of this machine's byte order.
///
/// # Errors
///
/// When the list cannot be compiled.
pub fn filter_bytes() -> io::Result<Vec<u8>> {
    let program = filter::compile(&rules())?;
    let bytes = |step: &seccompiler::sock_filter| {
        let [code0, code1] = step.code.to_ne_bytes();
        let [k0, k1, k2, k3] = step.k.to_ne_bytes();
        [code0, code1, step.jt, step.jf, k0, k1, k2, k3]
    };
    Ok(program.iter().flat_map(bytes).collect())
}

/// A system call that may be made, for runtimes that compile filters themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllowedCall {
    /// Its name, as in man 2.
    pub name: &'static str,
    /// What must hold of an argument; a call with several of these entries may be made where any holds.
    pub condition: Option<Condition>,
}

/// What must hold of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// The argument of this number has this value.
    Equals {
        /// Which one, from 0 on.
        argument: u32,
        /// The value.
        value: u32,
    },
    /// The argument of this number has none of these bits.
    HasNone {
        /// Which one, from 0 on.
        argument: u32,
        /// The bits.
        bits: u32,
    },
}

/// Returns the same list as [`filter_bytes`] in words. Where a call is forbidden for a few values only, which such runtimes
/// cannot say, it is not forbidden at all: that is `ioctl`, for the terminals that instances do not have.
#[must_use]
pub fn allowed_list() -> Vec<AllowedCall> {
    let entry = |name: &'static str, condition| AllowedCall {
        name: name.strip_prefix("SYS_").unwrap_or(name),
        condition,
    };
    let conditional = conditional_calls()
        .into_iter()
        .flat_map(|((_, name), check)| match check {
            Check::OneOf { argument, values } => values
                .iter()
                .map(|value| {
                    let value = *value;
                    entry(name, Some(Condition::Equals { argument, value }))
                })
                .collect(),
            Check::NoneOf { .. } => vec![entry(name, None)],
            Check::NoneOfBits { argument, bits } => {
                vec![entry(name, Some(Condition::HasNone { argument, bits }))]
            }
        });
    let plain = allowed_calls().map(|(_, name)| entry(name, None));
    plain.chain(conditional).collect()
}

/// Returns what happens to each call that is not simply refused.
fn rules() -> Vec<(i64, Verdict)> {
    let allowed = allowed_calls().map(|(number, _)| (number, Verdict::Allow));
    let checked = conditional_calls()
        .into_iter()
        .map(|((number, _), check)| (number, Verdict::If(check)));
    // glibc falls back to clone, whose flags can be checked; clone3 hides its flags behind a pointer.
    let absent = [(libc::SYS_clone3, Verdict::Errno(libc::ENOSYS))];
    allowed.chain(checked).chain(absent).collect()
}

/// TIOCSTI and TIOCLINUX push characters into a terminal that may be shared (linux/ioctls.h).
const PUSHING: [u32; 2] = [0x5412, 0x541c];

/// Calls that are allowed with some arguments only.
fn conditional_calls() -> [(Call, Check); 8] {
    const NEW_NAMESPACES: i32 = libc::CLONE_NEWNS
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWCGROUP;
    const FAMILIES: &[u32] = &[
        libc::AF_UNIX.cast_unsigned(),
        libc::AF_INET.cast_unsigned(),
        libc::AF_INET6.cast_unsigned(),
    ];
    let one_of = |argument, values| Check::OneOf { argument, values };
    let bits = NEW_NAMESPACES.cast_unsigned();
    [
        // Of themselves only: the agent has the same user id.
        (call!(SYS_prlimit64), one_of(0, &[0])),
        (call!(SYS_setpriority), one_of(1, &[0])),
        (call!(SYS_ioprio_set), one_of(1, &[0])),
        (call!(SYS_socket), one_of(0, FAMILIES)),
        (call!(SYS_socketpair), one_of(0, &FAMILIES[..1])),
        (call!(SYS_personality), one_of(0, &[0, u32::MAX])),
        (call!(SYS_clone), Check::NoneOfBits { argument: 0, bits }),
        (
            call!(SYS_ioctl),
            Check::NoneOf {
                argument: 1,
                values: &PUSHING,
            },
        ),
    ]
}

fn allowed_calls() -> impl Iterator<Item = Call> {
    [FILES, PROCESSES, MEMORY, TIME_AND_EVENTS, SOCKETS_AND_IPC, LEGACY]
        .into_iter()
        .flatten()
        .copied()
}

const FILES: &[Call] = &calls! {
    SYS_read SYS_write SYS_readv SYS_writev SYS_pread64 SYS_pwrite64 SYS_preadv SYS_pwritev SYS_preadv2 SYS_pwritev2
    SYS_openat SYS_openat2 SYS_close SYS_close_range SYS_lseek SYS_fstat SYS_newfstatat SYS_statx SYS_statfs SYS_fstatfs
    SYS_faccessat SYS_faccessat2 SYS_readlinkat SYS_getdents64 SYS_getcwd SYS_chdir SYS_fchdir SYS_mkdirat SYS_unlinkat
    SYS_renameat SYS_renameat2 SYS_linkat SYS_symlinkat SYS_fchmod SYS_fchmodat SYS_fchmodat2 SYS_fchown SYS_fchownat
    SYS_utimensat SYS_truncate SYS_ftruncate SYS_fallocate SYS_fadvise64 SYS_fsync SYS_fdatasync SYS_sync SYS_syncfs
    SYS_sync_file_range SYS_copy_file_range SYS_sendfile SYS_splice SYS_tee SYS_vmsplice SYS_dup SYS_dup3 SYS_fcntl
    SYS_flock SYS_pipe2 SYS_umask SYS_getxattr SYS_lgetxattr SYS_fgetxattr SYS_listxattr SYS_llistxattr SYS_flistxattr
    SYS_setxattr SYS_lsetxattr SYS_fsetxattr SYS_removexattr SYS_lremovexattr SYS_fremovexattr SYS_inotify_init1
    SYS_inotify_add_watch SYS_inotify_rm_watch SYS_mknodat SYS_readahead SYS_ioprio_get SYS_io_setup SYS_io_submit
    SYS_io_getevents SYS_io_destroy SYS_io_cancel SYS_landlock_create_ruleset
    SYS_landlock_add_rule SYS_landlock_restrict_self SYS_memfd_create SYS_mseal SYS_getrandom SYS_epoll_create1
};
const PROCESSES: &[Call] = &calls! {
    SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_wait4 SYS_waitid SYS_kill SYS_tkill SYS_tgkill SYS_getpid
    SYS_gettid SYS_getppid SYS_getpgid SYS_setpgid SYS_getsid SYS_setsid SYS_getuid SYS_geteuid SYS_getgid SYS_getegid
    SYS_getresuid SYS_getresgid SYS_getgroups SYS_setuid SYS_setgid SYS_setreuid SYS_setregid SYS_setresuid
    SYS_setresgid SYS_setgroups SYS_setfsuid SYS_setfsgid SYS_capget SYS_capset SYS_prctl SYS_seccomp SYS_getrlimit
    SYS_setrlimit SYS_getrusage SYS_getpriority SYS_sched_yield SYS_sched_getaffinity
    SYS_sched_setaffinity SYS_sched_getparam SYS_sched_setparam SYS_sched_getscheduler SYS_sched_setscheduler
    SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_sched_rr_get_interval SYS_sched_getattr
    SYS_sched_setattr SYS_set_tid_address SYS_set_robust_list SYS_get_robust_list SYS_futex SYS_futex_waitv SYS_rseq
    SYS_membarrier SYS_getcpu SYS_uname SYS_sysinfo SYS_times SYS_pidfd_open SYS_pidfd_send_signal SYS_restart_syscall
    SYS_rt_sigreturn
};
const MEMORY: &[Call] = &calls! {
    SYS_brk SYS_mmap SYS_munmap SYS_mremap SYS_mprotect SYS_madvise SYS_msync SYS_mincore SYS_mlock SYS_mlock2
    SYS_munlock SYS_mlockall SYS_munlockall SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect SYS_remap_file_pages
    SYS_rt_sigaction SYS_rt_sigprocmask
};
const TIME_AND_EVENTS: &[Call] = &calls! {
    SYS_clock_gettime SYS_clock_getres SYS_clock_nanosleep SYS_nanosleep SYS_gettimeofday SYS_getitimer SYS_setitimer
    SYS_timer_create SYS_timer_settime SYS_timer_gettime SYS_timer_getoverrun SYS_timer_delete SYS_timerfd_create
    SYS_timerfd_settime SYS_timerfd_gettime SYS_eventfd2 SYS_signalfd4 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2
    SYS_ppoll SYS_pselect6 SYS_rt_sigpending SYS_rt_sigqueueinfo SYS_rt_sigsuspend SYS_rt_sigtimedwait
    SYS_rt_tgsigqueueinfo SYS_sigaltstack
};
const SOCKETS_AND_IPC: &[Call] = &calls! {
    SYS_bind SYS_listen SYS_accept SYS_accept4 SYS_connect SYS_getsockname SYS_getpeername SYS_getsockopt SYS_setsockopt
    SYS_sendto SYS_recvfrom SYS_sendmsg SYS_recvmsg SYS_sendmmsg SYS_recvmmsg SYS_shutdown SYS_shmget SYS_shmat
    SYS_shmdt SYS_shmctl SYS_semget SYS_semop SYS_semtimedop SYS_semctl SYS_msgget SYS_msgsnd SYS_msgrcv SYS_msgctl
    SYS_mq_open SYS_mq_unlink SYS_mq_timedsend SYS_mq_timedreceive SYS_mq_notify SYS_mq_getsetattr
};
/// Calls that newer architectures dropped.
#[cfg(target_arch = "x86_64")]
const LEGACY: &[Call] = &calls! {
    SYS_open SYS_creat SYS_stat SYS_lstat SYS_access SYS_readlink SYS_getdents SYS_mkdir SYS_rmdir SYS_unlink SYS_rename
    SYS_link SYS_symlink SYS_chmod SYS_chown SYS_lchown SYS_utime SYS_utimes SYS_futimesat SYS_dup2 SYS_pipe SYS_fork
    SYS_vfork SYS_getpgrp SYS_poll SYS_select SYS_epoll_create SYS_epoll_wait SYS_eventfd SYS_signalfd SYS_inotify_init
    SYS_alarm SYS_pause SYS_time SYS_arch_prctl SYS_mknod
};
#[cfg(not(target_arch = "x86_64"))]
const LEGACY: &[Call] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushing_into_a_terminal_is_named_as_the_kernel_names_it() {
        assert_eq!(PUSHING.map(libc::Ioctl::from), [libc::TIOCSTI, libc::TIOCLINUX]);
    }

    #[test]
    fn what_attackers_need_is_not_listed() {
        let forbidden = calls! {
            SYS_mount SYS_umount2 SYS_pivot_root SYS_fsopen SYS_fsmount SYS_move_mount SYS_open_tree SYS_mount_setattr
            SYS_unshare SYS_setns SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev SYS_pidfd_getfd SYS_bpf SYS_kcmp
            SYS_io_uring_setup SYS_keyctl SYS_add_key SYS_request_key SYS_userfaultfd SYS_perf_event_open SYS_chroot
            SYS_init_module SYS_finit_module SYS_delete_module SYS_kexec_load SYS_reboot SYS_swapon SYS_clock_settime
            SYS_settimeofday SYS_adjtimex SYS_sethostname SYS_open_by_handle_at SYS_name_to_handle_at SYS_quotactl
            SYS_acct SYS_syslog SYS_clone3 SYS_fanotify_init SYS_lookup_dcookie SYS_move_pages SYS_mbind
            SYS_process_madvise SYS_memfd_secret SYS_vhangup
        };
        let allowed: Vec<Call> = allowed_calls().collect();
        for call in forbidden {
            assert!(!allowed.contains(&call), "system call {} is allowed", call.1);
        }
    }
}
