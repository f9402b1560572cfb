"""Finds shared memory, queues and semaphores of the host: System V, POSIX, and files in /dev/shm."""
KEY, ID = int(os.environ["IPC_KEY"]), int(os.environ["SHM_ID"])
libc.shmat.restype = ctypes.c_void_p


def attach(number):
    address = libc.shmat(number, None, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "shmat")
    data = ctypes.string_at(address, 4096)
    return "read the host's memory" if TOKEN.encode() in data else None


def take_message():
    buffer = ctypes.create_string_buffer(72)
    syscall("msgrcv", syscall("msgget", KEY, 0), buffer, 64, 0, 0o4000)
    return f"took {buffer.raw[8:]}"


def table(name):
    with open(f"/proc/sysvipc/{name}") as rows:
        found = [row.split()[1] for row in rows.readlines()[1:]]
    return f"{len(found)} of them" if found else None


attempt("find the host's segment by its key", lambda: attach(syscall("shmget", KEY, 0, 0)))
attempt("attach the host's segment by its number", lambda: attach(ID))
attempt("remove the host's segment", lambda: syscall("shmctl", ID, 0, 0) or "removed")
attempt("take a message", take_message)
attempt("find the host's semaphores", lambda: syscall("semget", KEY, 1, 0))
for name in ["shm", "msg", "sem"]:
    attempt(f"list /proc/sysvipc/{name}", lambda: table(name))
attempt("read the host's file in /dev/shm", lambda: read(f"/dev/shm/{TOKEN}"))
attempt("list /dev/mqueue", lambda: os.listdir("/dev/mqueue") or None)
