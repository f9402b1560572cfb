"""Opens devices of the host."""
import stat

NAMED = ["/dev/kvm", "/dev/mem", "/dev/kmem", "/dev/port", "/dev/fuse", "/dev/net/tun", "/dev/loop-control", "/dev/loop0",
         "/dev/mapper/control", "/dev/vhost-net", "/dev/vhost-vsock", "/dev/vsock", "/dev/cpu/0/msr", "/dev/rtc0", "/dev/snapshot",
         "/dev/kmsg", "/dev/autofs", "/dev/btrfs-control", "/dev/uinput", "/dev/dri/renderD128", "/dev/sda", "/dev/vda", "/dev/nvme0n1",
         "/dev/nvme0", "/dev/hpet", "/dev/watchdog", "/dev/mei0", "/dev/nitro_enclaves", "/dev/ptp0", "/dev/vfio/vfio"]
# By number, whatever they are called: null, zero, full, random, urandom; terminals of one's own are in /dev/pts.
HARMLESS = {(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)}


def others():
    found = []
    for folder, _, names in os.walk("/dev"):
        for name in names:
            path = os.path.join(folder, name)
            status = os.stat(path) if os.path.exists(path) else None
            if status and stat.S_ISBLK(status.st_mode):
                found.append(path)
            elif status and stat.S_ISCHR(status.st_mode):
                number = (os.major(status.st_rdev), os.minor(status.st_rdev))
                if number not in HARMLESS and number[0] not in range(136, 144):
                    found.append(path)
    return found[:8] or None


for path in NAMED:
    attempt(f"open {path}", lambda: os.open(path, os.O_RDONLY | os.O_NONBLOCK))
attempt("find any other device", others)
