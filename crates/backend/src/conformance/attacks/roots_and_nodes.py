"""Changes the root directory, and makes device nodes."""
import stat



def out_of_chroot():
    os.makedirs("jail", exist_ok=True)
    syscall("chroot", b"jail")
    for _ in range(64):
        os.chdir("..")
    syscall("chroot", b".")
    return "changed the root twice"


def node(kind, major, minor):
    def act():
        name = f"node-{major}-{minor}"
        os.mknod(name, kind | 0o666, os.makedev(major, minor))
        os.unlink(name)
        return "made"
    return act


attempt("chroot", out_of_chroot)
attempt("make a node of /dev/mem", node(stat.S_IFCHR, 1, 1))
attempt("make a node of /dev/kmsg", node(stat.S_IFCHR, 1, 11))
attempt("make a node of /dev/kvm", node(stat.S_IFCHR, 10, 232))
for major in (8, 254, 253, 259):
    attempt(f"make a node of disk {major}:0", node(stat.S_IFBLK, major, 0))
