"""Takes rights that were given up: uid 0, groups, capabilities."""
PR_CAPBSET_READ, PR_SET_SECUREBITS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 23, 28, 47, 2


def become(act):
    def carry_out():
        act()
        return f"uid {os.getresuid()}, gid {os.getresgid()}"
    return carry_out


def has(field):
    with open("/proc/self/status") as status:
        rows = dict(line.split(":", 1) for line in status)
    value = int(rows[field], 16)
    return f"{value:x}" if value else None


def take_all():
    header = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0), 8)
    return syscall("capset", header, ctypes.create_string_buffer(b"\xff" * 24, 24)) or "taken"


attempt("be root", lambda: "uid 0" if 0 in os.getresuid() else None)
attempt("setuid 0", become(lambda: syscall("setuid", 0)))
attempt("setgid 0", become(lambda: syscall("setgid", 0)))
attempt("setresuid 0", become(lambda: syscall("setresuid", 0, 0, 0)))
attempt("setresgid 0", become(lambda: syscall("setresgid", 0, 0, 0)))
attempt("setgroups", become(lambda: syscall("setgroups", 1, ctypes.create_string_buffer(4))))
attempt("be another user", become(lambda: syscall("setuid", 33)))
for field in ["CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd"]:
    attempt(f"have capabilities in {field}", lambda: has(field))
attempt("capset", take_all)
attempt("raise an ambient capability", lambda: syscall("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 21, 0, 0) or "raised")
attempt("set secure bits", lambda: syscall("prctl", PR_SET_SECUREBITS, 0, 0, 0, 0) or "set")
attempt("give a file away", lambda: open("given", "x").close() or os.chown("given", 0, 0) or "given")
