"""Connects over TCP: to listeners of the host, to private networks, to the cloud's metadata, to the internet."""
HOST = [("127.0.0.1", "TCP4_PORT"), ("::1", "TCP6_PORT"), ("::ffff:127.0.0.1", "TCP4_PORT"), ("127.1.2.3", "TCP4_PORT"), ("0.0.0.0", "TCP4_PORT"),
        ("localhost", "TCP4_PORT")]
# 192.0.2.1 and 2001:db8::1 are for documentation (RFC 5737, RFC 3849): nobody is there, and only a closed network says so at once.
FAR = [("192.0.2.1", 80), ("2001:db8::1", 80), ("169.254.169.254", 80), ("fd00:ec2::254", 80), ("10.0.0.1", 22), ("172.17.0.1", 2375),
       ("192.168.0.1", 80), ("fe80::1%lo", 80), ("100.100.100.200", 80)]


def connect(address, port):
    family, kind, number, _, target = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
    talk = socket.socket(family, kind, number)
    talk.settimeout(5)
    try:
        talk.connect(target)
    except TimeoutError:
        # What goes out by the loopback interface comes back in.
        return None if address.endswith("%lo") else "nobody answered, so a packet left"
    return "connected"


for address, port in HOST:
    if os.environ[port]:
        attempt(f"connect to {address}, the host's {port}", lambda: connect(address, int(os.environ[port])))
if not PROOF:
    for address, port in FAR:
        attempt(f"connect to {address}:{port}", lambda: connect(address, port))
