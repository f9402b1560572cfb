"""CVE-2019-5736: writes to the binary of the process that started us, through /proc/PID/exe."""
import fcntl

PIDS = ["self"] if PROOF else ["1", "self", str(os.getppid()), "thread-self"]


def writes(path, flags):
    """A file that is busy only is one that can be written a moment later."""
    try:
        os.close(os.open(path, flags))
    except OSError as error:
        if error.errno != errno.ETXTBSY:
            raise
        return "only busy"
    return "opened for writing"


def again(pid):
    """Holds the file by a descriptor and opens that one for writing, as the published exploit does."""
    held = os.open(f"/proc/{pid}/exe", os.O_PATH)
    return writes(f"/proc/self/fd/{held}", os.O_WRONLY)


def seals(pid):
    held = os.open(f"/proc/{pid}/exe", os.O_RDONLY)
    fcntl.fcntl(held, 1033, 0x10)  # F_ADD_SEALS: on a binary in a memfd it would show that it can be changed.
    return "the binary is a memfd that takes seals"


for pid in PIDS:
    attempt(f"write /proc/{pid}/exe", lambda: writes(f"/proc/{pid}/exe", os.O_WRONLY))
    attempt(f"read and write /proc/{pid}/exe", lambda: writes(f"/proc/{pid}/exe", os.O_RDWR))
    attempt(f"reopen /proc/{pid}/exe", lambda: again(pid))
    attempt(f"seal /proc/{pid}/exe", lambda: seals(pid))
