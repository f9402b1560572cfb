"""Sets the clocks, which know no namespace."""
import time


def now():
    seconds = time.clock_gettime_ns(time.CLOCK_REALTIME)
    return ctypes.create_string_buffer(struct.pack("2q", seconds // 10**9, seconds % 10**9), 16)


def tick():
    # struct timex: ADJ_TICK with what it is anyway.
    buffer = ctypes.create_string_buffer(208)
    struct.pack_into("I", buffer, 0, 0x4000)
    struct.pack_into("q", buffer, 88, 10_000)
    return buffer


attempt("clock_settime", lambda: syscall("clock_settime", 0, now()) or "set")
attempt("settimeofday", lambda: syscall("settimeofday", now(), 0) or "set")
attempt("set the time zone", lambda: syscall("settimeofday", 0, ctypes.create_string_buffer(8)) or "set")
attempt("adjtimex", lambda: syscall("adjtimex", tick()) + 1)
attempt("clock_adjtime", lambda: syscall("clock_adjtime", 0, tick()) + 1)
attempt("open the clock's device", lambda: os.open("/dev/rtc0", os.O_WRONLY))
