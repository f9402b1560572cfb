"""What all attacks share: raw system calls, tries in a process of their own, and the report."""
import ctypes
import errno
import json
import os
import platform
import signal
import socket
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
PROOF = os.environ.get("PROOF") == "1"
VICTIM = int(os.environ.get("VICTIM_PID", "0"))
# The processes to attack: a proof only goes for the bait, never for the host's first process. A low number of the host may
# be one of ours by chance; that no process of the host is seen at all is an attack of its own.
TARGETS = [VICTIM] if PROOF else [1] + [VICTIM] * (os.getpid() > 1000 or VICTIM > 5000)
CANARY = os.environ.get("CANARY", "")
TOKEN = os.environ.get("TOKEN", "")
# How a defence refuses. Any other error means that a call got past it and failed on its own arguments.
REFUSED = (errno.EPERM, errno.EACCES, errno.ENOSYS)
TRY_SECONDS_MAX = 20

# The numbers differ by machine only below 424: <asm/unistd_64.h> and <asm-generic/unistd.h>.
_BOTH = {
    "pidfd_send_signal": 424, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "pidfd_open": 434, "clone3": 435, "pidfd_getfd": 438, "process_madvise": 440, "mount_setattr": 442,
    "quotactl_fd": 443, "process_mrelease": 448,
}
_X86_64 = {
    "shmget": 29, "shmat": 30, "shmctl": 31, "clone": 56, "semget": 64, "msgget": 68, "msgrcv": 70, "msgctl": 71,
    "ptrace": 101, "syslog": 103, "setuid": 105, "setgid": 106, "setgroups": 116, "setresuid": 117,
    "setresgid": 119, "capset": 126, "personality": 135, "uselib": 134, "ustat": 136, "sysfs": 139,
    "vhangup": 153, "modify_ldt": 154, "pivot_root": 155, "prctl": 157, "adjtimex": 159, "chroot": 161,
    "acct": 163, "settimeofday": 164, "mount": 165, "umount2": 166, "swapon": 167, "swapoff": 168, "reboot": 169,
    "sethostname": 170, "setdomainname": 171, "iopl": 172, "ioperm": 173, "init_module": 175,
    "delete_module": 176, "quotactl": 179, "lookup_dcookie": 212, "clock_settime": 227, "mq_open": 240,
    "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250, "ioprio_set": 251,
    "migrate_pages": 256, "mknodat": 259, "unshare": 272, "move_pages": 279, "perf_event_open": 298,
    "fanotify_init": 300, "prlimit64": 302, "name_to_handle_at": 303, "open_by_handle_at": 304,
    "clock_adjtime": 305, "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312,
    "finit_module": 313, "seccomp": 317, "memfd_create": 319, "kexec_file_load": 320, "bpf": 321,
    "userfaultfd": 323, "mlockall": 151, "sched_setscheduler": 144, "rt_sigqueueinfo": 129, "tgkill": 234,
}
_GENERIC = {
    "lookup_dcookie": 18, "ioprio_set": 30, "mknodat": 33, "umount2": 39, "mount": 40, "pivot_root": 41,
    "chroot": 51, "vhangup": 58, "quotactl": 60, "acct": 89, "personality": 92, "capset": 91, "unshare": 97,
    "kexec_load": 104, "init_module": 105, "delete_module": 106, "clock_settime": 112, "syslog": 116,
    "ptrace": 117, "sched_setscheduler": 119, "tgkill": 131, "rt_sigqueueinfo": 138, "reboot": 142,
    "setgid": 144, "setuid": 146, "setresuid": 147, "setresgid": 149, "setgroups": 159, "sethostname": 161,
    "setdomainname": 162, "prctl": 167, "settimeofday": 170, "adjtimex": 171, "mq_open": 180, "msgget": 186,
    "msgctl": 187, "msgrcv": 188, "semget": 190, "shmget": 194, "shmctl": 195, "shmat": 196, "add_key": 217,
    "request_key": 218, "keyctl": 219, "clone": 220, "swapon": 224, "swapoff": 225, "mlockall": 230,
    "migrate_pages": 238, "move_pages": 239, "perf_event_open": 241, "prlimit64": 261, "fanotify_init": 262,
    "name_to_handle_at": 264, "open_by_handle_at": 265, "clock_adjtime": 266, "setns": 268,
    "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272, "finit_module": 273, "seccomp": 277,
    "memfd_create": 279, "bpf": 280, "userfaultfd": 282, "kexec_file_load": 294,
}
NUMBERS = {**_BOTH, **(_X86_64 if platform.machine() == "x86_64" else _GENERIC)}
_tries, _breaches, _refusals = [], [], []


def _word(value):
    if value is None:
        return ctypes.c_long(0)
    return ctypes.c_long(value) if isinstance(value, int) else value


def syscall(name, *args):
    """Makes a system call past the C library; an error is an OSError."""
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(NUMBERS[name]), *map(_word, args))
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def tell(error):
    return errno.errorcode.get(error.errno, str(error.errno)) if isinstance(error, OSError) else repr(error)


def _child(write, act):
    signal.alarm(TRY_SECONDS_MAX)
    try:
        got = act()
        answer = {"got": None if got is None else str(got)[:300]}
    except BaseException as error:
        number = error.errno if isinstance(error, OSError) else None
        answer = {"error": tell(error), "errno": number}
    os.write(write, json.dumps(answer).encode())
    os._exit(0)


def _in_a_child(act):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        _child(write, act)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        answer = file.read()
    _, status = os.waitpid(child, 0)
    if answer:
        return json.loads(answer)
    return {"killed": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0}


def attempt(what, act):
    """Tries something in a child. It worked when `act` returns something; an error, None or a death by seccomp is a refusal."""
    _tries.append(what)
    answer = _in_a_child(act)
    if answer.get("got") is not None:
        _breaches.append(f"{what}: {answer['got']}")
    elif answer.get("killed") == signal.SIGALRM:
        _breaches.append(f"{what}: still at it after {TRY_SECONDS_MAX} s")
    else:
        _refusals.append(f"{what}: {answer.get('error') or answer.get('killed') or 'nothing'}")


def refused(what, act):
    """Tries a call that must be refused as such: it also counts as reached when it fails on its arguments."""
    _tries.append(what)
    answer = _in_a_child(act)
    if "killed" in answer and answer["killed"] != signal.SIGALRM:
        _refusals.append(f"{what}: killed by {answer['killed']}")
    elif answer.get("errno") in REFUSED:
        _refusals.append(f"{what}: {answer['error']}")
    else:
        _breaches.append(f"{what}: reached the kernel ({answer})")


def read(path, limit=4096):
    with open(path, "rb") as file:
        return file.read(limit)


def report():
    """Prints the one JSON value that the rule reads."""
    detail = "; ".join(_breaches or _refusals)
    print(json.dumps({
        "contained": bool(_tries) and not _breaches,
        "tried": "; ".join(_tries)[:20_000],
        "detail": detail[:20_000],
    }))
