"""Sets up io_uring, whose operations pass by seccomp."""


def set_up():
    return syscall("io_uring_setup", 8, ctypes.create_string_buffer(120))


attempt("io_uring_setup", set_up)
refused("io_uring_setup with nonsense", lambda: syscall("io_uring_setup", 0, 0))
refused("io_uring_enter", lambda: syscall("io_uring_enter", -1, 0, 0, 0, 0, 0))
refused("io_uring_register", lambda: syscall("io_uring_register", -1, 0, 0, 0))
