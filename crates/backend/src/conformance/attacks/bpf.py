"""Loads programs into the kernel, and makes their maps."""


def make_map():
    # union bpf_attr of BPF_MAP_CREATE: an array of one word.
    return syscall("bpf", 0, ctypes.create_string_buffer(struct.pack("5I", 2, 4, 8, 1, 0) + bytes(100), 120), 120)


def load():
    code = struct.pack("<BBhi", 0xB7, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0)  # r0 = 0; exit
    program, license_ = ctypes.create_string_buffer(code, 16), ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack("2IQQ", 1, 2, ctypes.addressof(program), ctypes.addressof(license_))
    return syscall("bpf", 5, ctypes.create_string_buffer(attributes + bytes(96), 120), 120)


attempt("make a map", make_map)
attempt("load a program", load)
refused("bpf with nonsense", lambda: syscall("bpf", 99, 0, 0))
