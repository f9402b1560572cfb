"""Opens sockets that see or make whole packets."""
ETH_P_ALL = 0x0300

attempt("AF_PACKET raw", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, ETH_P_ALL))
attempt("AF_PACKET datagram", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, ETH_P_ALL))
attempt("raw ICMP", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
attempt("raw IP", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 255))
attempt("raw ICMPv6", lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6))
attempt("raw UDP over IPv6", lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_UDP))
attempt("/dev/net/tun", lambda: os.open("/dev/net/tun", os.O_RDWR))
