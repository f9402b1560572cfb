"""What lies on the host for attackers to find. Prints one line of JSON, then answers every line on stdin with a report.

argv: a token that is hard to guess, and an empty folder. Everything goes away when stdin is closed.
"""
import ctypes
import json
import os
import shutil
import signal
import socket
import sys
import threading

TOKEN, FOLDER = sys.argv[1:3]
SECRET = TOKEN.encode()
CANARIES = [os.path.join(FOLDER, "canary"), f"/tmp/{TOKEN}", f"/var/tmp/{TOKEN}", f"/dev/shm/{TOKEN}"]
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
contacts = []


def must(result, what):
    if result == -1:
        raise OSError(ctypes.get_errno(), what)
    return result


def write(path):
    with open(path, "x") as file:
        file.write(TOKEN)


def listen(name, listening):
    def accept():
        while True:
            if listening.type == socket.SOCK_DGRAM:
                listening.recvfrom(2048)
                contacts.append(name)
                continue
            talk, _ = listening.accept()
            contacts.append(name)
            talk.close()

    threading.Thread(target=accept, daemon=True).start()
    return listening


def bound(family, kind, address):
    try:
        made = socket.socket(family, kind)
        made.bind(address)
    except OSError:
        return None  # A host without IPv6.
    if kind == socket.SOCK_STREAM:
        made.listen(64)
    return made


def victim():
    """Waits to be killed, traced, read, written and robbed of its open file."""
    file = os.open(CANARIES[0], os.O_RDONLY)
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        libc.prctl(0x59616D61, ctypes.c_ulong(-1))  # PR_SET_PTRACER: any; Yama would forbid the proof.
        os.write(tell, b".")
        while True:
            signal.pause()
    os.read(told, 1)
    return pid, file


def state(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "gone"


def memory(pid, address):
    try:
        with open(f"/proc/{pid}/mem", "rb") as mem:
            mem.seek(address)
            return mem.read(len(SECRET)) == SECRET
    except OSError:
        return None  # Not to be read by us either.


for path in CANARIES:
    write(path)
secret = ctypes.create_string_buffer(SECRET)
victim_pid, victim_fd = victim()
key = int(TOKEN[-7:], 16) | 1
shm = must(libc.shmget(key, 4096, 0o1666), "shmget")
ctypes.memmove(libc.shmat(shm, None, 0), SECRET, len(SECRET))
queue = must(libc.msgget(key, 0o1666), "msgget")


class Message(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_long), ("text", ctypes.c_char * 64)]


must(libc.msgsnd(queue, ctypes.byref(Message(1, SECRET)), 64, 0), "msgsnd")
semaphores = must(libc.semget(key, 1, 0o1666), "semget")
unix_path = os.path.join(FOLDER, "socket")
listening = {
    "tcp4": bound(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
    "tcp6": bound(socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0)),
    "udp4": bound(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
    "udp6": bound(socket.AF_INET6, socket.SOCK_DGRAM, ("::1", 0)),
    "unix": bound(socket.AF_UNIX, socket.SOCK_STREAM, unix_path),
    "abstract": bound(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + TOKEN),
    "abstract_dgram": bound(socket.AF_UNIX, socket.SOCK_DGRAM, "\0" + TOKEN + "-dgram"),
}
os.chmod(unix_path, 0o666)
for name, made in listening.items():
    if made:
        listen(name, made)


def port(name):
    return str(listening[name].getsockname()[1]) if listening[name] else ""


print(json.dumps({
    "CANARY": CANARIES[0],
    "CANARIES": ":".join(CANARIES),
    "TOKEN": TOKEN,
    "VICTIM_PID": str(victim_pid),
    "VICTIM_ADDRESS": str(ctypes.addressof(secret)),
    "VICTIM_FD": str(victim_fd),
    "TCP4_PORT": port("tcp4"),
    "TCP6_PORT": port("tcp6"),
    "UDP4_PORT": port("udp4"),
    "UDP6_PORT": port("udp6"),
    "UNIX_PATH": unix_path,
    "ABSTRACT": TOKEN,
    "IPC_KEY": str(key),
    "SHM_ID": str(shm),
    "HOST_NAME": socket.gethostname(),
}), flush=True)

for _ in sys.stdin:
    # A stopped process shows it at once; a killed one is a zombie.
    harm = [f"a listener was reached: {name}" for name in contacts]
    if state(victim_pid) not in "SR":
        harm.append(f"the victim is in state {state(victim_pid)}")
    elif memory(victim_pid, ctypes.addressof(secret)) is False:
        harm.append("the victim's memory was changed")
    for path in CANARIES:
        try:
            with open(path) as file:
                if file.read() != TOKEN:
                    harm.append(f"changed: {path}")
        except OSError as error:
            harm.append(f"{path}: {error}")
    if sorted(os.listdir(FOLDER)) != ["canary", "socket"]:
        harm.append(f"the folder holds {os.listdir(FOLDER)}")
    print(json.dumps(harm), flush=True)

os.kill(victim_pid, signal.SIGKILL)
libc.shmctl(shm, 0, None)
libc.msgctl(queue, 0, None)
libc.semctl(semaphores, 0, 0)
for path in CANARIES:
    try:
        os.unlink(path)
    except OSError:
        pass
shutil.rmtree(FOLDER, ignore_errors=True)
