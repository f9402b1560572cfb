"""Connects to sockets of the host: by abstract name, by path, and to those of container engines and system services."""
PATHS = [os.environ["UNIX_PATH"], "/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock",
         "/run/crio/crio.sock", "/run/dbus/system_bus_socket", "/run/systemd/private", "/run/systemd/journal/socket",
         "/run/systemd/notify", "/run/systemd/resolve/io.systemd.Resolve", "/run/nscd/socket", "/var/run/nscd/socket", "/dev/log",
         "/run/udev/control", "/run/snapd.socket", "/run/libvirt/libvirt-sock", "/tmp/.X11-unix/X0", "/run/lxd.socket"]
ABSTRACT = os.environ["ABSTRACT"]


def connect(address, kind=socket.SOCK_STREAM):
    talk = socket.socket(socket.AF_UNIX, kind)
    talk.settimeout(5)
    talk.connect(address)
    return "connected"


def send(address):
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"hello", address)
    return "sent"


def listed():
    with open("/proc/net/unix") as rows:
        names = [row.split()[7] for row in rows.readlines()[1:] if len(row.split()) > 7]
    return names[:5] or None


attempt("connect to the host's abstract socket", lambda: connect("\0" + ABSTRACT))
attempt("send to the host's abstract socket", lambda: send("\0" + ABSTRACT + "-dgram"))
for name in ["/tmp/.X11-unix/X0", "/containerd-shim/x", "/org/kernel/linux/storage/multipathd"]:
    attempt(f"connect to the abstract socket {name}", lambda: connect("\0" + name))
for path in PATHS:
    attempt(f"connect to {path}", lambda: connect(path))
    attempt(f"connect to {path} for datagrams", lambda: connect(path, socket.SOCK_DGRAM))
attempt("list sockets of the host", listed)
