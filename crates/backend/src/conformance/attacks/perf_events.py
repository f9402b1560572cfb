"""Opens counters of the processor and the kernel."""


def counter(kind, config, pid, processor, exclude):
    # struct perf_event_attr, its first version: 64 bytes; bits 5 and 6 leave kernel and hypervisor out.
    attributes = struct.pack("2IQ4Q", kind, 64, config, 0, 0, 0, 0x60 if exclude else 0) + bytes(16)
    return lambda: syscall("perf_event_open", ctypes.create_string_buffer(attributes, 64), pid, processor, -1, 0)


attempt("count own page faults", counter(1, 2, 0, -1, True))
attempt("count own page faults with the kernel's", counter(1, 2, 0, -1, False))
attempt("count own time", counter(1, 1, 0, -1, True))
attempt("count everything on processor 0", counter(1, 0, -1, 0, False))
attempt("use a tracepoint", counter(2, 1, 0, -1, False))
refused("perf_event_open with nonsense", lambda: syscall("perf_event_open", 0, 0, 0, 0, 0))
