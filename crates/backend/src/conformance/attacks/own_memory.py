"""Writes through /proc/self/mem to pages that are mapped read-only from a shared file."""
import mmap

PATH = os.path.realpath("/usr/bin/env")


def through(flags):
    """A private page becomes a copy; the file itself must stay."""
    before = read(PATH, 64)
    file = os.open(PATH, os.O_RDONLY)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    address = libc.mmap(None, 4096, mmap.PROT_READ, flags, file, 0)
    try:
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(address)
            memory.write(b"\x7fELF-changed")
    except OSError:
        pass
    return "the shared file was changed" if read(PATH, 64) != before else None


def writable_mapping():
    file = os.open(PATH, os.O_RDONLY)
    mmap.mmap(file, 4096, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    return "mapped for writing"


attempt("write to a shared mapping", lambda: through(mmap.MAP_SHARED))
attempt("write to a private mapping", lambda: through(mmap.MAP_PRIVATE))
attempt("map a shared file for writing", writable_mapping)
