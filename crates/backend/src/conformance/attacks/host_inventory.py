"""Reads how the host is set up: its boot parameters, kernel modules, disks and mounts."""


def something(path):
    got = read(path, 300)
    return got if got.strip() else None


def host_paths():
    """Where a mount comes from may tell paths of the host; folders of the system, and its own place, are no secret."""
    with open("/proc/self/mountinfo") as rows:
        found = [root for root, place in (row.split()[3:5] for row in rows) if not place.endswith(root)]
    known = ("/usr", "/lib", "/bin", "/sbin", "/etc", "/opt", "/dev", "/null", "/zero", "/full", "/random", "/urandom", "/tty", "/proc", "/sys")
    return [path for path in found if path != "/" and not path.startswith(known)][:5] or None


for path in ["/proc/cmdline", "/proc/modules", "/proc/partitions", "/proc/diskstats", "/proc/config.gz",
             "/proc/interrupts", "/proc/bootconfig"]:
    attempt(f"read {path}", lambda: something(path))
attempt("read the sources of mounts", host_paths)
