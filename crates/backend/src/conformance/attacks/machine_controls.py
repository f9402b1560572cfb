"""Reboots, swaps, replaces the kernel, touches ports. The arguments are nonsense: who is asked for better ones was let in."""
MISSING = b"/vulcan-conformance-is-not-here"

refused("reboot", lambda: syscall("reboot", 0, 0, 0, 0))
refused("kexec_load", lambda: syscall("kexec_load", 0, 0, 0, 1 << 30))
refused("kexec_file_load", lambda: syscall("kexec_file_load", -1, -1, 0, 0, 1 << 30))
refused("swapon", lambda: syscall("swapon", MISSING, 0))
refused("swapoff", lambda: syscall("swapoff", MISSING))
refused("acct", lambda: syscall("acct", MISSING))
refused("quotactl", lambda: syscall("quotactl", 0x80000700 - (1 << 32), MISSING, 0, 0))
refused("lookup_dcookie", lambda: syscall("lookup_dcookie", 0, 0, 0))
if platform.machine() == "x86_64":
    refused("iopl", lambda: syscall("iopl", 3))
    refused("ioperm", lambda: syscall("ioperm", 0x80, 1, 1))
    refused("sysfs", lambda: syscall("sysfs", 99, 0, 0))
    refused("ustat", lambda: syscall("ustat", 0, 0))
    refused("uselib", lambda: syscall("uselib", MISSING))
