"""Raises limits that were set, its own and the agent's."""
import resource

NAMES = {"RLIMIT_NOFILE": 7, "RLIMIT_NPROC": 6, "RLIMIT_MEMLOCK": 8, "RLIMIT_MSGQUEUE": 12, "RLIMIT_NICE": 13, "RLIMIT_RTPRIO": 14}


def above(kind):
    """Where there is no limit at all, none can be raised."""
    soft, hard = resource.getrlimit(kind)
    if hard == resource.RLIM_INFINITY:
        return None
    try:
        resource.setrlimit(kind, (soft, hard + 1))
    except ValueError as error:
        raise PermissionError(errno.EPERM, str(error)) from None
    return f"raised above {hard}"


def of_process(pid, kind):
    limits = ctypes.create_string_buffer(struct.pack("2Q", 0, 0), 16)
    return syscall("prlimit64", pid, kind, limits, 0) or "changed"


def first_in_line():
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    return "scheduled before everybody"


for name, kind in NAMES.items():
    attempt(f"raise {name}", lambda: above(kind))
for pid in TARGETS:
    attempt(f"limit process {pid}", lambda: of_process(pid, 7))
    attempt(f"renice process {pid}", lambda: os.setpriority(os.PRIO_PROCESS, pid, 19) or "reniced")
attempt("lower the nice value", lambda: os.setpriority(os.PRIO_PROCESS, 0, -20) or "lowered")
attempt("SCHED_FIFO", first_in_line)
attempt("real-time input and output", lambda: syscall("ioprio_set", 1, 0, 1 << 13) or "set")
attempt("mlockall", lambda: syscall("mlockall", 3) or "locked")
