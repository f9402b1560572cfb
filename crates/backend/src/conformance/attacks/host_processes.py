"""Looks for processes of the host, and sends them signals by every call."""
SIGNALS = [0, signal.SIGCONT, signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL]


def seen():
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid() or int(name) == os.getppid():
            continue
        try:
            line = read(f"/proc/{name}/cmdline", 65536)
        except OSError:
            continue
        if TOKEN.encode() in line:
            return f"process {name} is the bait's"


def kernel_threads():
    return "kthreadd is seen" if read("/proc/2/comm") == b"kthreadd\n" else None


def queue(pid):
    info = ctypes.create_string_buffer(128)
    struct.pack_into("iii", info, 0, signal.SIGTERM, 0, -1)  # SI_QUEUE
    return syscall("rt_sigqueueinfo", pid, signal.SIGTERM, info) or "sent"


def by_pidfd(pid):
    return syscall("pidfd_send_signal", syscall("pidfd_open", pid, 0), signal.SIGTERM, 0, 0) or "sent"


attempt("see the bait's processes", seen)
attempt("see threads of the kernel", kernel_threads)
if VICTIM in TARGETS:
    for number in SIGNALS:
        attempt(f"kill {VICTIM} by {int(number)}", lambda: os.kill(VICTIM, number) or "sent")
    attempt(f"rt_sigqueueinfo to {VICTIM}", lambda: queue(VICTIM))
    attempt(f"pidfd_send_signal to {VICTIM}", lambda: by_pidfd(VICTIM))
    attempt(f"tgkill {VICTIM}", lambda: syscall("tgkill", VICTIM, VICTIM, signal.SIGTERM) or "sent")
