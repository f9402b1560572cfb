"""Talks to the kernel over netlink: routes, audit, events of devices, filters."""
NAMES = {0: "route", 4: "sock_diag", 6: "xfrm", 7: "selinux", 9: "audit", 10: "fib_lookup", 11: "connector", 12: "netfilter",
         15: "kobject_uevent", 16: "generic", 20: "rdma", 21: "crypto"}

for number, name in NAMES.items():
    attempt(f"netlink {name}", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, number))
