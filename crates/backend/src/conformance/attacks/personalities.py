"""Weakens the layout of memory by personality(2)."""
for name, flag in {"ADDR_NO_RANDOMIZE": 0x0040000, "READ_IMPLIES_EXEC": 0x0400000, "MMAP_PAGE_ZERO": 0x0100000,
                   "ADDR_COMPAT_LAYOUT": 0x0200000, "UNAME26": 0x0020000}.items():
    attempt(name, lambda: f"it was {syscall('personality', flag)}")
