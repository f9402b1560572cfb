"""Makes user namespaces, the door to most of the kernel's attack surface, and every other kind of namespace."""
KINDS = {"user": 0x10000000, "mount": 0x00020000, "pid": 0x20000000, "network": 0x40000000, "ipc": 0x08000000, "uts": 0x04000000,
         "cgroup": 0x02000000, "time": 0x00000080}


def clone(flags):
    def act():
        child = syscall("clone", flags | signal.SIGCHLD, 0, 0, 0, 0)
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        return "made"
    return act


def clone3(flags):
    def act():
        # struct clone_args, its first version: eight words (man 2 clone3).
        args = struct.pack("8Q", flags, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
        child = syscall("clone3", ctypes.create_string_buffer(args, len(args)), len(args))
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        return "made"
    return act


for name, flag in KINDS.items():
    attempt(f"unshare a {name} namespace", lambda: syscall("unshare", flag) or "made")
    attempt(f"unshare a user and a {name} namespace", lambda: syscall("unshare", flag | KINDS["user"]) or "made")
    if name == "time":
        continue  # clone has no flag for it.
    attempt(f"clone into a {name} namespace", clone(flag))
    attempt(f"clone into a user and a {name} namespace", clone(flag | KINDS["user"]))
    attempt(f"clone3 into a user and a {name} namespace", clone3(flag | KINDS["user"]))
