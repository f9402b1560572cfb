"""Opens the kernel's settings for writing: core_pattern, modprobe, sysrq and every other file below /proc/sys. Writes nothing."""
NAMED = ["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/fs/binfmt_misc/register", "/proc/sysrq-trigger",
         "/proc/sys/kernel/hostname", "/proc/sys/vm/overcommit_memory", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/ns_last_pid",
         "/proc/sys/kernel/sysrq", "/proc/sys/kernel/poweroff_cmd", "/proc/self/timens_offsets", "/proc/self/uid_map",
         "/proc/self/setgroups", "/proc/irq/default_smp_affinity", "/proc/mtrr", "/proc/acpi/wakeup", "/proc/scsi/scsi"]
# What every process may set for itself, and what harms nobody.
OWN = {"/proc/self/setgroups", "/proc/self/uid_map", "/proc/self/timens_offsets"} if not PROOF else set()


def opens(path):
    os.close(os.open(path, os.O_WRONLY))
    return "opened for writing"


def walk():
    found = []
    for folder, _, names in os.walk("/proc/sys"):
        for name in names:
            try:
                found.append(opens(os.path.join(folder, name)) and os.path.join(folder, name))
            except OSError:
                pass
    return found[:5] or None


for path in NAMED:
    if path not in OWN:
        attempt(f"open {path}", lambda: opens(path))
attempt("open any file below /proc/sys", walk)
