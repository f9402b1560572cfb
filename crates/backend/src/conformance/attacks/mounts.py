"""Mounts, remounts and unmounts by the old calls and the new ones."""
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE, MS_SHARED = 1, 32, 4096, 8192, 16384, 1 << 18, 1 << 20
AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE, OPEN_TREE_CLONE, MOVE_MOUNT_F_EMPTY_PATH = -100, 0x1000, 0x8000, 1, 4
os.makedirs("mnt", exist_ok=True)


def mount(source, target, kind, flags, data=None):
    return lambda: syscall("mount", source, target, kind, flags, data) or "mounted"


def new_mount():
    context = syscall("fsopen", b"tmpfs", 0)
    syscall("fsconfig", context, 6, 0, 0, 0)  # FSCONFIG_CMD_CREATE
    made = syscall("fsmount", context, 0, 0)
    syscall("move_mount", made, b"", AT_FDCWD, b"mnt", MOVE_MOUNT_F_EMPTY_PATH)
    return "mounted"


def clone_tree():
    tree = syscall("open_tree", AT_FDCWD, b"/", OPEN_TREE_CLONE | AT_RECURSIVE)
    syscall("move_mount", tree, b"", AT_FDCWD, b"mnt", MOVE_MOUNT_F_EMPTY_PATH)
    return "copied the whole tree"


def set_attributes():
    # struct mount_attr: clear MOUNT_ATTR_RDONLY (man 2 mount_setattr).
    attributes = ctypes.create_string_buffer(struct.pack("4Q", 0, 1, 0, 0), 32)
    syscall("mount_setattr", AT_FDCWD, b"/usr", 0, attributes, 32)
    return "made /usr writable"


def targets():
    with open("/proc/self/mounts") as mounts:
        return [line.split()[1].encode() for line in mounts]


attempt("mount a tmpfs", mount(b"none", b"mnt", b"tmpfs", 0))
attempt("mount a proc", mount(b"none", b"mnt", b"proc", 0))
attempt("mount a sysfs", mount(b"none", b"mnt", b"sysfs", 0))
attempt("mount a devpts", mount(b"none", b"mnt", b"devpts", 0, b"newinstance"))
attempt("mount an overlay", mount(b"none", b"mnt", b"overlay", 0, b"lowerdir=/usr:/etc"))
attempt("mount a fuse", mount(b"none", b"mnt", b"fuse", 0, b"fd=0,rootmode=40000,user_id=0,group_id=0"))
attempt("bind /", mount(b"/", b"mnt", None, MS_BIND | MS_REC))
attempt("bind /proc/1/root", mount(b"/proc/1/root", b"mnt", None, MS_BIND))
attempt("remount / writable", mount(b"none", b"/", None, MS_REMOUNT | MS_BIND))
attempt("remount /usr writable", mount(b"none", b"/usr", None, MS_REMOUNT | MS_BIND))
attempt("move a mount", mount(b"/proc", b"mnt", None, MS_MOVE))
attempt("share all mounts", mount(b"none", b"/", None, MS_SHARED | MS_REC))
attempt("fsopen, fsmount, move_mount", new_mount)
attempt("open_tree", clone_tree)
attempt("mount_setattr", set_attributes)
attempt("fspick", lambda: syscall("fspick", AT_FDCWD, b"/", 0))
attempt("pivot_root", lambda: os.chdir("/") or syscall("pivot_root", b".", b".") or "pivoted")
for target in targets():
    attempt(f"unmount {target.decode()}", lambda: syscall("umount2", target, 2) or "unmounted")
