"""Types into a terminal of the host: TIOCSTI and TIOCLINUX (CVE-2017-5226) on whatever terminal can be had."""
import fcntl

TIOCSTI, TIOCLINUX, TIOCSCTTY, KDSETLED = 0x5412, 0x541C, 0x540E, 0x4B32


def push(number):
    fcntl.ioctl(number, TIOCSTI, b"x")
    return "typed a letter"


def paste(number):
    fcntl.ioctl(number, TIOCLINUX, b"\x03")  # Paste the selection.
    return "pasted"


def own():
    """Even on a terminal of its own it must not go: one that is shared would be no different."""
    leader, follower = os.openpty()
    os.setsid()
    fcntl.ioctl(follower, TIOCSCTTY, 0)
    fcntl.ioctl(follower, TIOCSTI, b"x")
    return "typed into a terminal of its own"


for number in range(3):
    attempt(f"have a terminal at descriptor {number}", lambda: os.ttyname(number) if os.isatty(number) else None)
    attempt(f"TIOCSTI on {number}", lambda: push(number))
    attempt(f"TIOCLINUX on {number}", lambda: paste(number))
    attempt(f"make {number} the controlling terminal", lambda: os.setsid() and None or fcntl.ioctl(number, TIOCSCTTY, 1) or "made")
attempt("TIOCSTI on a terminal of one's own", own)
for path in ["/dev/tty", "/dev/console", "/dev/tty0", "/dev/tty1", "/dev/ttyS0", "/dev/vcs", "/dev/pts/0"]:
    attempt(f"open {path}", lambda: os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK))
