"""Loads and removes modules of the kernel. The arguments are nonsense: who is asked for better ones was let in."""
refused("init_module", lambda: syscall("init_module", b"\x7fELF", 4, b""))
refused("finit_module", lambda: syscall("finit_module", os.open("/dev/null", os.O_RDONLY), b"", 0))
refused("delete_module", lambda: syscall("delete_module", b"vulcan-conformance", os.O_NONBLOCK))
attempt("name a loader of modules", lambda: os.open("/proc/sys/kernel/modprobe", os.O_WRONLY))
