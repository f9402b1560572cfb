"""Sends datagrams: to the host, to name servers, to everybody."""


def send(address, port, data=b"hello"):
    family, kind, number, _, target = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM)[0]
    talk = socket.socket(family, kind, number)
    talk.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    talk.connect(target)
    talk.send(data)
    # A refusal comes back as an error of the next call where nobody listens.
    talk.settimeout(2)
    try:
        talk.recv(1)
    except TimeoutError:
        return "sent, and no refusal came back"
    return "answered"


def resolve(name):
    return socket.getaddrinfo(name, 80)


# The header of a query, one question: example.com, type A, class IN (RFC 1035).
QUESTION = b"\0\1\1\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1"

for address, port in [("127.0.0.1", "UDP4_PORT"), ("::1", "UDP6_PORT")]:
    if os.environ[port]:
        attempt(f"send to {address}, the host's {port}", lambda: send(address, int(os.environ[port])))
if not PROOF:
    for address in ["192.0.2.1", "2001:db8::1", "169.254.169.254", "255.255.255.255", "224.0.0.251", "ff02::fb"]:
        attempt(f"send to {address}", lambda: send(address, 9))
    for address in ["127.0.0.53", "127.0.0.11", "192.0.2.53", "10.0.2.3", "1.1.1.1"]:
        attempt(f"ask the name server {address}", lambda: send(address, 53, QUESTION))
    attempt("resolve a name", lambda: resolve("example.com"))
