"""Opens files of /sys for writing, and looks for file systems of the kernel that have no place in an instance."""
ENTRIES_MAX = 20_000


def walk():
    found, seen = [], 0
    for folder, folders, names in os.walk("/sys"):
        for name in names:
            seen += 1
            path = os.path.join(folder, name)
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
                found.append(path)
            except OSError:
                pass
        if seen > ENTRIES_MAX or len(found) > 5:
            break
    return found[:5] or None


def special():
    kinds = {"sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "bpf", "configfs", "efivarfs", "pstore", "fusectl",
             "binfmt_misc", "hugetlbfs", "devtmpfs", "rpc_pipefs"}
    with open("/proc/self/mounts") as mounts:
        rows = [line.split() for line in mounts]
    # A single device of a devtmpfs shows only itself.
    rows = [row for row in rows if os.path.isdir(row[1]) and "ro" not in row[3].split(",")]
    return [f"{row[1]} ({row[2]})" for row in rows if row[2] in kinds] or None


attempt("open any file below /sys for writing", walk)
attempt("find a writable file system of the kernel", special)
