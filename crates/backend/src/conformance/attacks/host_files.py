"""Reads, lists and changes files that the harness planted on the host, by every way round."""


def seek(prefix):
    def act():
        for canary in os.environ["CANARIES"].split(":"):
            try:
                if TOKEN.encode() in read(prefix + canary):
                    return f"read {prefix}{canary}"
            except OSError:
                pass
    return act


for prefix in ["", "/proc/1/root", "/proc/self/root", "/proc/1/cwd", "/proc/self/cwd/../../../../..", "/proc/self/task/1/root",
               "/../../..", "/oldroot", "/.oldroot", "/old_root", "/mnt", "/host", "/newroot", "/proc/2/root"]:
    attempt(f"read the canary under '{prefix}'", seek(prefix))


def climb():
    folder = os.open(".", os.O_PATH | os.O_DIRECTORY)
    for _ in range(64):
        folder = os.open("..", os.O_PATH | os.O_DIRECTORY, dir_fd=folder)
        try:
            file = os.open(CANARY.lstrip("/"), os.O_RDONLY, dir_fd=folder)
        except OSError:
            continue
        if TOKEN.encode() in os.read(file, 4096):
            return "climbed out of the root"


def by_link():
    os.symlink(CANARY, "a-link")
    return "followed a link" if TOKEN.encode() in read("a-link") else None


def change():
    with open(CANARY, "r+b") as file:
        file.write(b"changed")
    return "changed the canary"


def add():
    with open(os.path.join(os.path.dirname(CANARY), "added"), "x"):
        return "added a file beside the canary"


def remove():
    os.unlink(CANARY)
    return "removed the canary"


attempt("climb by openat", climb)
attempt("follow a symbolic link", by_link)
attempt("list the canary's folder", lambda: os.listdir(os.path.dirname(CANARY)) or None)
attempt("add beside the canary", add)
attempt("change the canary", change)
attempt("remove the canary", remove)
