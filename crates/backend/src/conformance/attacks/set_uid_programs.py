"""Gains rights by starting set-uid programs, and by making one."""
import glob
import stat
import subprocess
import time

HERE = os.geteuid()
FOLDERS = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/lib/openssh", "/usr/lib/dbus-1.0", "/usr/libexec"]


def found():
    for folder in FOLDERS:
        for path in glob.glob(f"{folder}/*"):
            mode = os.stat(path).st_mode if os.path.exists(path) else 0
            if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
                yield path


def rights(pid):
    with open(f"/proc/{pid}/status") as status:
        rows = dict(line.split(":", 1) for line in status)
    return int(rows["Uid"].split()[1]), int(rows["Gid"].split()[1]), int(rows["CapEff"], 16)


def gains(path):
    """Starts a program on an open pipe, where most of them wait for a password, and looks at its rights while it lives."""
    def act():
        own = rights("self")
        program = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for _ in range(200):
                uid, gid, capabilities = rights(program.pid)
                if (uid, gid) != own[:2] or capabilities & ~own[2]:
                    return f"it runs with uid {uid}, gid {gid}, capabilities {capabilities:x}"
                if program.poll() is not None:
                    return None
                time.sleep(0.001)
        except (OSError, KeyError):
            return None  # It is gone.
        finally:
            program.kill()
    return act


def no_new_privileges():
    with open("/proc/self/status") as status:
        return None if "NoNewPrivs:\t1" in status.read() else "privileges may be gained by exec"


attempt("have no_new_privs unset", no_new_privileges)
for path in list(found())[:20]:
    attempt(f"start {path}", gains(path))
