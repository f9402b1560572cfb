"""Opens sockets of rarely used families, where the kernel's defects are, and those that lead to a hypervisor or the kernel's ciphers."""
FAMILIES = {"AF_AX25": 3, "AF_IPX": 4, "AF_APPLETALK": 5, "AF_X25": 9, "AF_KEY": 15, "AF_RDS": 21, "AF_PPPOX": 24, "AF_LLC": 26,
            "AF_CAN": 29, "AF_TIPC": 30, "AF_BLUETOOTH": 31, "AF_RXRPC": 33, "AF_PHONET": 35, "AF_ALG": 38, "AF_NFC": 39,
            "AF_VSOCK": 40, "AF_KCM": 41, "AF_QIPCRTR": 42, "AF_SMC": 43, "AF_XDP": 44, "AF_MCTP": 45}
KINDS = {"stream": socket.SOCK_STREAM, "datagram": socket.SOCK_DGRAM, "raw": socket.SOCK_RAW, "packet": socket.SOCK_SEQPACKET}

for name, family in FAMILIES.items():
    for kind, number in KINDS.items():
        attempt(f"{name} {kind}", lambda: socket.socket(family, number))
attempt("SCTP", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132))
attempt("DCCP", lambda: socket.socket(socket.AF_INET, 6, 33))
