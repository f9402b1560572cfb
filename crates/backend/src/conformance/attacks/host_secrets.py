"""Reads what a host keeps to itself: secrets, homes, logs, the state of its services."""
FILES = ["/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/sudoers", "/etc/ssh/ssh_host_ed25519_key", "/etc/ssh/sshd_config",
         "/etc/ssl/private", "/etc/machine-id", "/var/lib/dbus/machine-id", "/etc/crontab", "/etc/fstab", "/etc/hostname",
         "/etc/krb5.keytab", "/etc/docker/daemon.json", "/proc/1/root/etc/shadow"]
FOLDERS = ["/root", "/home", "/srv", "/media", "/mnt", "/boot", "/var/lib", "/var/log", "/var/spool", "/var/cache", "/var/mail",
           "/var/backups", "/run/systemd", "/run/user", "/run/lock", "/run/secrets", "/lost+found", "/etc/ssh", "/etc/sudoers.d",
           "/etc/cron.d", "/etc/systemd", "/sys/fs/bpf", "/sys/kernel/debug", "/sys/kernel/tracing"]


def lists(folder):
    names = os.listdir(folder)
    return f"{len(names)} entries, {names[0]} for one" if names else None


for path in FILES:
    attempt(f"read {path}", lambda: f"{len(read(path))} bytes" if not os.path.isdir(path) else lists(path))
for path in FOLDERS:
    attempt(f"list {path}", lambda: lists(path))
