"""Looks for descriptors that a careless launcher left open: anything but the program's own pipes."""
import stat

KIND = {stat.S_IFDIR: "a folder", stat.S_IFBLK: "a block device", stat.S_IFREG: "a file"}
HARMLESS_DEVICES = {(1, 3), (1, 5), (1, 7), (1, 8), (1, 9)}  # null, zero, full, random, urandom
OWN = (os.getcwd(), "/work", "/tmp", "/dev/shm")


def judge(number):
    status = os.fstat(number)
    kind = stat.S_IFMT(status.st_mode)
    name = os.readlink(f"/proc/self/fd/{number}")
    if kind == stat.S_IFREG and (name.startswith(OWN) or os.access(name, os.R_OK) and not _writable(number)):
        return None  # The program's own file, or one that it may read anyway.
    if kind in KIND:
        return f"{KIND[kind]}: {name}"
    if kind == stat.S_IFCHR and (os.major(status.st_rdev), os.minor(status.st_rdev)) not in HARMLESS_DEVICES:
        return f"a device: {name}"
    if kind == stat.S_IFSOCK:
        return _socket(number)
    if name.startswith("anon_inode:"):
        return name
    return None


def _writable(number):
    import fcntl
    return fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY


def _socket(number):
    """A nameless pair is how an agent may talk to its program; anything that has a name or a network is not."""
    talk = socket.socket(fileno=os.dup(number))
    if talk.family != socket.AF_UNIX:
        return f"a socket of family {talk.family}"
    names = [talk.getsockname()]
    try:
        names.append(talk.getpeername())
    except OSError:
        pass
    return f"a socket named {names}" if any(names) else None


def others(pid):
    names = os.listdir(f"/proc/{pid}/fd")
    return f"{len(names)} descriptors can be listed" if names else None


if PROOF:
    os.open("/", os.O_RDONLY)  # As a careless launcher would leave it behind.
numbers = [int(name) for name in os.listdir("/proc/self/fd")]
for number in numbers:
    try:
        os.fstat(number)
    except OSError:
        continue  # The one that listed the folder.
    attempt(f"use descriptor {number}", lambda: judge(number))
if not PROOF:
    attempt("list the agent's descriptors", lambda: others(1))
    for number in range(64):
        attempt(f"open the agent's descriptor {number}", lambda: os.open(f"/proc/1/fd/{number}", os.O_RDONLY | os.O_NONBLOCK))
