"""Changes the host's name, or the instance's."""
attempt("sethostname", lambda: syscall("sethostname", b"conformance", 11) or "set")
attempt("setdomainname", lambda: syscall("setdomainname", b"conformance", 11) or "set")
attempt("write the name's setting", lambda: os.open("/proc/sys/kernel/hostname", os.O_WRONLY))
