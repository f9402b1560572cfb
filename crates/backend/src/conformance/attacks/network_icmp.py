"""Pings, by the socket that needs no rights and by the raw one, and looks for interfaces beside the loopback."""
ECHO = b"\x08\0\xf7\xff\0\0\0\0"


def ping(kind, family, number, address):
    talk = socket.socket(family, kind, number)
    talk.settimeout(2)
    talk.sendto(ECHO, (address, 0))
    try:
        talk.recvfrom(100)
    except TimeoutError:
        return "sent"
    return "answered"


def interfaces():
    with open("/proc/net/dev") as rows:
        names = [row.split(":")[0].strip() for row in rows.readlines()[2:]]
    return [name for name in names if name != "lo"] or None


def routes():
    with open("/proc/net/route") as rows:
        found = [row.split()[:3] for row in rows.readlines()[1:]]
    return found or None


targets = ["127.0.0.1"] if PROOF else ["192.0.2.1", "169.254.169.254"]
for address in targets:
    attempt(f"ping {address}", lambda: ping(socket.SOCK_DGRAM, socket.AF_INET, socket.IPPROTO_ICMP, address))
    attempt(f"ping {address} raw", lambda: ping(socket.SOCK_RAW, socket.AF_INET, socket.IPPROTO_ICMP, address))
if not PROOF:
    attempt("ping 2001:db8::1", lambda: ping(socket.SOCK_DGRAM, socket.AF_INET6, socket.IPPROTO_ICMPV6, "2001:db8::1"))
attempt("find interfaces", interfaces)
attempt("find routes", routes)
