"""Reads environments: the agent's, its parents', and what the loader and the shell were told."""


def foreign(pid):
    return read(f"/proc/{pid}/environ", 65536).split(b"\0")[0] or None


def own():
    """What the process was started with may be more than what it was told."""
    names = [entry.split(b"=")[0].decode() for entry in read("/proc/self/environ", 65536).split(b"\0") if entry]
    return [name for name in names if name.startswith(("CARGO", "NEXTEST", "RUST", "SSH_", "SUDO_", "AWS_", "DBUS_", "XDG_"))] or None


for pid in TARGETS:
    attempt(f"read the environment of {pid}", lambda: foreign(pid))
attempt("find variables of the host", own)
