"""Looks for everything that a neighbour offers; where it lies came in the environment."""
HIS = os.environ.get("NEIGHBOUR_TOKEN", "")


def connect(address, family=socket.AF_UNIX):
    talk = socket.socket(family)
    talk.settimeout(5)
    talk.connect(address)
    return "connected"


def segment():
    libc.shmat.restype = ctypes.c_void_p
    number = syscall("shmget", int(os.environ["NEIGHBOUR_KEY"]), 0, 0)
    return "read his memory" if HIS.encode() in ctypes.string_at(libc.shmat(number, None, 0), 4096) else None


def process():
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                line = read(f"/proc/{name}/cmdline", 65536)
            except OSError:
                continue
            if b"offer_to_neighbours" in line:
                return f"saw his process {name}"


if HIS:
    for folder in [".", "/tmp", "/var/tmp", "/dev/shm", "/run", "/work"]:
        attempt(f"find his file in {folder}", lambda: read(f"{folder}/{HIS}"))
    if "NEIGHBOUR_TCP_PORT" in os.environ:
        attempt("connect to his port", lambda: connect(("127.0.0.1", int(os.environ["NEIGHBOUR_TCP_PORT"])), socket.AF_INET))
    if "NEIGHBOUR_ABSTRACT" in os.environ:
        attempt("connect to his abstract socket", lambda: connect("\0" + os.environ["NEIGHBOUR_ABSTRACT"]))
    if "NEIGHBOUR_KEY" in os.environ:
        attempt("find his shared memory", segment)
    attempt("see his process", process)
