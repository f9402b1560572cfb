"""Enters namespaces of other processes."""
import glob

KINDS = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time", "pid_for_children", "time_for_children"]


def enter(path):
    return syscall("setns", os.open(path, os.O_RDONLY), 0) or "entered"


def enter_process(pid):
    return syscall("setns", syscall("pidfd_open", pid, 0), 0x40000000) or "entered"


for kind in KINDS:
    for pid in dict.fromkeys(["self", *map(str, TARGETS)]):
        attempt(f"enter /proc/{pid}/ns/{kind}", lambda: enter(f"/proc/{pid}/ns/{kind}"))
for pid in TARGETS:
    attempt(f"enter the network of {pid} by pidfd", lambda: enter_process(pid))
for path in glob.glob("/run/netns/*") + glob.glob("/var/run/docker/netns/*"):
    attempt(f"enter {path}", lambda: enter(path))
