"""Sends every signal to the first process of the instance, by every call. That the report arrives shows that it lives."""


def sent(act):
    """The kernel may take a signal for an init process and drop it: only its effect counts, and that is seen outside."""
    def carry_out():
        act()
    return carry_out


def by_pidfd(number):
    syscall("pidfd_send_signal", syscall("pidfd_open", 1, 0), number, 0, 0)


def stopped():
    state = read("/proc/1/stat").rsplit(b")", 1)[1].split()[0]
    return f"it is in state {state.decode()}" if state in b"TtZX" else None


for number in list(range(1, 65)):
    attempt(f"kill 1 by {number}", sent(lambda: os.kill(1, number)))
for number in [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGSEGV]:
    attempt(f"tgkill 1 by {int(number)}", sent(lambda: syscall("tgkill", 1, 1, number)))
    attempt(f"pidfd_send_signal to 1 of {int(number)}", sent(lambda: by_pidfd(number)))
attempt("process_mrelease", lambda: syscall("process_mrelease", syscall("pidfd_open", 1, 0), 0) or "released")
attempt("find it stopped", stopped)
