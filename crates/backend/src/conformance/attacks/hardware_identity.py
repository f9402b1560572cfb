"""Reads which machine this is: DMI, serial numbers, network cards, disks, the host's name."""
import glob


def first(pattern):
    def act():
        for path in glob.glob(pattern):
            try:
                got = read(path, 200)
            except OSError:
                continue
            if got.strip():
                return f"{path}: {got}"
    return act


for pattern in ["/sys/class/dmi/id/*", "/sys/devices/virtual/dmi/id/*", "/sys/firmware/*/*", "/sys/firmware/dmi/tables/*",
                "/sys/class/net/*/address", "/sys/block/*/serial", "/sys/block/*/size", "/sys/class/powercap/*/energy_uj", "/proc/acpi/*",
                "/proc/scsi/*", "/proc/asound/*", "/proc/bus/*/devices"]:
    attempt(f"read {pattern}", first(pattern))
attempt("learn the host's name", lambda: "it is ours too" if socket.gethostname() == os.environ["HOST_NAME"] else None)
attempt("learn the machine's id", first("/etc/machine-id"))
