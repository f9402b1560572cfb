"""Opens files of the host by their number, past every path (the "shocker" attack)."""
AT_FDCWD = -100


def by_number(mount, inode):
    def act():
        # struct file_handle: 8 bytes of FILEID_INO32_GEN, inode and generation.
        handle = ctypes.create_string_buffer(struct.pack("IiII", 8, 1, inode, 0), 16)
        found = syscall("open_by_handle_at", os.open(mount, os.O_RDONLY), handle, os.O_RDONLY)
        return os.readlink(f"/proc/self/fd/{found}")
    return act


def by_own_handle():
    buffer, mount = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136), ctypes.c_int()
    syscall("name_to_handle_at", AT_FDCWD, b"/usr", buffer, ctypes.byref(mount), 0)
    found = syscall("open_by_handle_at", os.open("/usr", os.O_RDONLY), buffer, os.O_RDONLY)
    return os.readlink(f"/proc/self/fd/{found}")


for mount in ["/", "/usr", "/etc", ".", "/dev/null"]:
    attempt(f"open inode 2 beside {mount}", by_number(mount, 2))
attempt("open a folder by its own handle", by_own_handle)
refused("open_by_handle_at with nonsense", lambda: syscall("open_by_handle_at", -1, ctypes.create_string_buffer(struct.pack("Ii", 8, 1), 16), 0))
