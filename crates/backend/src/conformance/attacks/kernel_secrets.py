"""Reads what helps to attack the kernel: addresses, memory, its log, keys."""

def addresses():
    with open("/proc/kallsyms") as symbols:
        for _, row in zip(range(2000), symbols):
            if int(row.split()[0], 16):
                return row.strip()


def physical():
    with open("/proc/iomem") as rows:
        for row in rows:
            start, end = row.split(":")[0].strip().split("-")
            if int(end, 16):
                return row.strip()


def log():
    buffer = ctypes.create_string_buffer(4096)
    length = syscall("syslog", 3, buffer, 4096)  # SYSLOG_ACTION_READ_ALL
    return buffer.raw[:60] if length else None


def something(path):
    got = read(path, 200)
    return got if got.strip() else None


attempt("addresses in /proc/kallsyms", addresses)
attempt("addresses in /proc/iomem", physical)
attempt("the kernel's log", log)
attempt("the size of the kernel's log", lambda: syscall("syslog", 10, 0, 0))
for path in ["/dev/kmsg", "/proc/kmsg", "/proc/kcore", "/proc/keys", "/proc/key-users", "/proc/timer_list", "/proc/sched_debug",
             "/proc/slabinfo", "/proc/vmallocinfo", "/proc/pagetypeinfo", "/proc/latency_stats", "/proc/kpagecount", "/proc/kpageflags",
             "/sys/kernel/notes", "/sys/kernel/vmcoreinfo", "/sys/kernel/btf/vmlinux",
             "/sys/kernel/debug/sched/debug", "/sys/kernel/security/lsm", "/sys/module/kernel/sections/.text"]:
    attempt(f"read {path}", lambda: something(path))
