"""Reaches into other processes: ptrace, process_vm, pidfd_getfd, /proc/PID/mem and its neighbours."""
PTRACE_ATTACH, PTRACE_SEIZE, PTRACE_DETACH = 16, 0x4206, 17
ADDRESS = int(os.environ["VICTIM_ADDRESS"])
VICTIM_FD = int(os.environ["VICTIM_FD"])


def attach(pid, request):
    syscall("ptrace", request, pid, 0, 0)
    return "attached"


def vector(data, address):
    """The two struct iovec of process_vm_readv and process_vm_writev."""
    buffer = ctypes.create_string_buffer(data, len(data))
    local = ctypes.create_string_buffer(struct.pack("2Q", ctypes.addressof(buffer), len(data)), 16)
    remote = ctypes.create_string_buffer(struct.pack("2Q", address, len(data)), 16)
    return buffer, local, remote


def vm_read(pid):
    buffer, local, remote = vector(bytes(len(TOKEN)), ADDRESS)
    syscall("process_vm_readv", pid, local, 1, remote, 1, 0)
    return f"read {buffer.raw}"


def vm_write(pid):
    buffer, local, remote = vector(b"changed", ADDRESS)
    syscall("process_vm_writev", pid, local, 1, remote, 1, 0)
    return "wrote"


def take_descriptor(pid):
    process = syscall("pidfd_open", pid, 0)
    for number in [VICTIM_FD, *range(64)]:
        try:
            return f"took descriptor {number}: {syscall('pidfd_getfd', process, number, 0)}"
        except OSError as error:
            if error.errno != errno.EBADF:
                raise


def advise(pid):
    process = syscall("pidfd_open", pid, 0)
    range_ = ctypes.create_string_buffer(struct.pack("2Q", ADDRESS & ~4095, 4096), 16)
    return syscall("process_madvise", process, range_, 1, 20, 0) or "advised"  # MADV_COLD


def opens(path, mode):
    """Opening for writing is a breach at once; what is opened for reading must give something."""
    with open(path, mode, buffering=0) as file:
        if mode == "r+b":
            return "opened for writing"
        if path.endswith("/mem"):
            file.seek(ADDRESS)
        return f"read {file.read(32)}"


def lists(path):
    return os.listdir(path) or None


# What the program's own parents are is theirs to say; the agent and the host are the question here.
for pid in TARGETS:
    attempt(f"attach to {pid}", lambda: attach(pid, PTRACE_ATTACH))
    attempt(f"seize {pid}", lambda: attach(pid, PTRACE_SEIZE))
    attempt(f"process_vm_readv of {pid}", lambda: vm_read(pid))
    attempt(f"process_vm_writev to {pid}", lambda: vm_write(pid))
    attempt(f"take a descriptor of {pid}", lambda: take_descriptor(pid))
    attempt(f"process_madvise of {pid}", lambda: advise(pid))
    for name in ["mem", f"task/{pid}/mem"]:
        attempt(f"write /proc/{pid}/{name}", lambda: opens(f"/proc/{pid}/{name}", "r+b"))
    for name in ["mem", "maps", "environ", "auxv", "stack", "syscall", "io", "personality"]:
        attempt(f"read /proc/{pid}/{name}", lambda: opens(f"/proc/{pid}/{name}", "rb"))
    for name in ["root", "cwd", "map_files", "fd", "fdinfo"]:
        attempt(f"list /proc/{pid}/{name}", lambda: lists(f"/proc/{pid}/{name}"))
