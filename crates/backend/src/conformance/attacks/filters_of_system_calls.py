"""Removes or outvotes the filter of system calls."""
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, PR_SET_DUMPABLE = 22, 38, 4
CLONE_NEWUSER = 0x10000000


def allow_all():
    """A filter of one instruction, BPF_RET | BPF_K with SECCOMP_RET_ALLOW: the strictest vote must win."""
    code = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000), 8)
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 1, ctypes.addressof(code)), 16)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    syscall("seccomp", 1, 0, program)


def outvote():
    try:
        allow_all()
    except OSError:
        pass
    return syscall("unshare", CLONE_NEWUSER) or "a namespace was made"


def has_filter():
    with open("/proc/self/status") as status:
        return None if "Seccomp:\t2" in status.read() else "there is no filter"


def by_exec():
    """The filter must outlive exec."""
    import subprocess
    code = "import sys; sys.exit('Seccomp:\\t2' not in open('/proc/self/status').read())"
    return "exec removed it" if subprocess.run([sys.executable or "/usr/bin/python3", "-I", "-c", code]).returncode else None


attempt("have no filter", has_filter)
attempt("outvote the filter", outvote)
attempt("switch the filter off", lambda: syscall("prctl", PR_SET_SECCOMP, 0, 0, 0, 0) or "off")
attempt("unset no_new_privs", lambda: syscall("prctl", PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0) or "unset")
attempt("lose the filter by exec", by_exec)
