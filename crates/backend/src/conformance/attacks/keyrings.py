"""Uses the kernel's keyrings, which know no namespaces but the user's."""
KEYRINGS = {"thread": -1, "process": -2, "session": -3, "user": -4, "user session": -5}


def add(ring):
    key = syscall("add_key", b"user", b"vulcan-conformance", b"x", 1, ring)
    syscall("keyctl", 3, key)  # KEYCTL_REVOKE: a proof leaves nothing.
    return f"added {key}"


for name, ring in KEYRINGS.items():
    attempt(f"find the {name} keyring", lambda: syscall("keyctl", 0, ring, 0))
    attempt(f"add a key to the {name} keyring", lambda: add(ring))
attempt("join a session keyring", lambda: syscall("keyctl", 1, 0))
attempt("request a key", lambda: syscall("request_key", b"user", b"vulcan-conformance", 0, -3))
refused("keyctl with nonsense", lambda: syscall("keyctl", 9999, 0, 0, 0, 0))
refused("request_key with nonsense", lambda: syscall("request_key", 0, 0, 0, 0))
