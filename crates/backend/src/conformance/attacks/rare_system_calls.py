"""Calls what has no place in an instance, with nonsense for arguments: it must be refused before it looks at them."""
NAMES = ["ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "process_madvise", "mount", "umount2", "pivot_root",
         "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "setns", "bpf", "perf_event_open",
         "fanotify_init", "open_by_handle_at", "keyctl", "add_key", "request_key", "io_uring_setup", "init_module", "finit_module",
         "delete_module", "kexec_load", "quotactl", "quotactl_fd", "acct", "swapon", "swapoff", "syslog", "move_pages", "migrate_pages"]

for name in NAMES:
    refused(name, lambda: syscall(name, -1, -1, -1, -1, -1, -1))
