"""Changes cgroups: more of everything, or a program of the host by release_agent (CVE-2022-0492)."""
SUBSYSTEMS = ["memory", "pids", "cpu", "devices", "freezer", "rdma", "systemd", "unified"]
FILES = ["release_agent", "notify_on_release", "cgroup.procs", "tasks", "cgroup.subtree_control", "memory.max", "memory.limit_in_bytes",
         "pids.max", "cpu.max", "cpu.cfs_quota_us", "devices.allow", "cgroup.kill", "freezer.state", "memory.high"]


def mounts(kind, options):
    os.mkdir("cg") if not os.path.isdir("cg") else None
    syscall("mount", b"none", b"cg", kind, 0, options)
    return "mounted"


def writes():
    found = []
    for folder, _, names in os.walk("/sys/fs/cgroup"):
        for name in names:
            if name in FILES and os.access(os.path.join(folder, name), os.W_OK):
                found.append(os.path.join(folder, name))
        if len(found) > 5:
            break
    return found or None


def makes():
    for folder in ["/sys/fs/cgroup"] + [f"/sys/fs/cgroup/{name}" for name in SUBSYSTEMS]:
        try:
            os.mkdir(f"{folder}/vulcan-conformance")
        except OSError:
            continue
        os.rmdir(f"{folder}/vulcan-conformance")
        return f"made a cgroup in {folder}"


attempt("mount cgroup2", lambda: mounts(b"cgroup2", None))
for name in SUBSYSTEMS[:6]:
    attempt(f"mount the cgroup hierarchy '{name}'", lambda: mounts(b"cgroup", name.encode()))
attempt("mount a named hierarchy", lambda: mounts(b"cgroup", b"none,name=vulcan-conformance"))
attempt("find files of cgroups that can be written", writes)
attempt("make a cgroup", makes)
