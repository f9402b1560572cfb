"""Calls the kernel by other doors than the filter may watch: 32-bit calls, the x32 table, segments of one's own."""
import mmap

X32 = 0x40000000
GETPID_32, GETPID_64 = 20, 39


def machine_code(code):
    page = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    result = ctypes.CFUNCTYPE(ctypes.c_long)(address)()
    return result


def old_door():
    # push rbx; mov eax, 20; int 0x80; movsxd rax, eax; pop rbx; ret
    got = machine_code(b"\x53\xb8" + struct.pack("<I", GETPID_32) + b"\xcd\x80\x48\x63\xc0\x5b\xc3")
    return f"the 32-bit getpid answered {got}" if got == os.getpid() else None


def x32():
    got = libc.syscall(ctypes.c_long(X32 | GETPID_64))
    return f"the x32 getpid answered {got}" if got == os.getpid() else None


def segment():
    # struct user_desc: entry 0, a 32-bit data segment.
    return syscall("modify_ldt", 1, ctypes.create_string_buffer(struct.pack("4I", 0, 0, 0xFFFFF, 0x51), 16), 16) or "written"


if platform.machine() == "x86_64":
    attempt("int 0x80", old_door)
    attempt("x32", x32)
    attempt("modify_ldt", segment)
    refused("modify_ldt with nonsense", lambda: syscall("modify_ldt", 99, 0, 0))
else:
    attempt("be a 32-bit process", lambda: f"personality was {syscall('personality', 8)}")
