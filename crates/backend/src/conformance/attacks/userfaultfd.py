"""Handles page faults in user space, the way to win races inside of the kernel."""
UFFD_USER_MODE_ONLY = 1

attempt("userfaultfd", lambda: syscall("userfaultfd", os.O_CLOEXEC))
attempt("userfaultfd for user faults", lambda: syscall("userfaultfd", UFFD_USER_MODE_ONLY))
attempt("/dev/userfaultfd", lambda: os.open("/dev/userfaultfd", os.O_RDWR))
