"""Writes into what all instances share: programs, libraries, settings, device nodes."""
NAME = f"vulcan-conformance-{os.getpid()}"
FOLDERS = ["/", "/usr", "/usr/bin", "/usr/lib", "/usr/local/bin", "/usr/lib/python3", "/bin", "/lib", "/lib64", "/sbin", "/etc",
           "/opt", "/dev", "/sys", "/proc", "/proc/sys"]
FILES = ["/usr/bin/python3", "/bin/sh", "/etc/passwd", "/etc/ld.so.cache", "/etc/ld.so.preload", "/lib64/ld-linux-x86-64.so.2",
         os.__file__]


def add(folder):
    def act():
        os.close(os.open(os.path.join(folder, NAME), os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        return "added a file"
    return act


def change(path):
    def act():
        try:
            os.close(os.open(path, os.O_RDWR))
        except OSError as error:
            if error.errno != errno.ETXTBSY:  # Busy only: it could be written a moment later.
                raise
        return "opened it for writing"
    return act


def hard_link():
    os.link("/usr/bin/env", "linked")
    return "a link shares the file"


for folder in FOLDERS:
    attempt(f"add a file to {folder}", add(folder))
for path in FILES:
    attempt(f"change {path}", change(os.path.realpath(path)))
attempt("change permissions of /usr/bin/env", lambda: os.chmod("/usr/bin/env", 0o755) or "changed")
attempt("touch /usr/bin/env", lambda: os.utime("/usr/bin/env") or "touched")
attempt("link /usr/bin/env into the working directory", hard_link)
attempt("remove /dev/null", lambda: os.unlink("/dev/null") or "removed")
attempt("replace /dev/null", lambda: os.symlink("/proc/sys/kernel/core_pattern", "x") or os.rename("x", "/dev/null") or "replaced")
attempt("change permissions of /dev/null", lambda: os.chmod("/dev/null", 0o600) or "changed")
