"""Performs one act: argv[1] names it, the rest are its arguments. See `Act` for what each promises."""
import ctypes
import errno
import json
import mmap
import os
import resource
import signal
import socket
import sys
import threading
import time

MIB = 1024 * 1024
TRACE_FOLDERS = [".", "/tmp", "/var/tmp", "/dev/shm", "/run"]


def say(value):
    print(json.dumps(value), flush=True)


def ready():
    os.write(1, b"ready\n")


def wait_for_ever():
    while True:
        time.sleep(3600)


def ignore_signals():
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass


def spin():
    ignore_signals()
    while True:
        pass


def detach():
    """Starts a spinning child that belongs to no session, group or parent of ours."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            spin()
        os._exit(0)
    os.wait()


def descriptor(stream):
    return {"stdout": 1, "stderr": 2}[stream]


def write_all(file, data):
    view = memoryview(data)
    while view:
        view = view[os.write(file, view):]


def exit_with(code):
    sys.exit(int(code))


def die_by(number):
    number = int(number)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        signal.signal(number, signal.SIG_DFL)
    except OSError:
        pass  # SIGKILL has no other way.
    os.kill(os.getpid(), number)
    wait_for_ever()


def print_ordered(lines):
    for number in range(int(lines)):
        os.write(1, b"line %d\n" % number)
        os.write(2, b"line %d\n" % number)


def flood(count, stream):
    count = int(count)
    write_all(descriptor(stream), (bytes(range(251)) * (count // 251 + 1))[:count])
    os._exit(0)


def print_raw(text, stream):
    write_all(descriptor(stream), bytes.fromhex(text))


def print_nested(depth):
    write_all(1, b"[" * int(depth) + b"]" * int(depth))


def endless_lines():
    ready()
    while True:
        os.write(1, b"an endless flood of lines\n" * 1024)


def endless_line():
    ready()
    while True:
        os.write(1, b"x" * 65536)


def copy_input():
    while data := os.read(0, 65536):
        write_all(1, data)


def sleep():
    ready()
    wait_for_ever()


def sleep_for(millis):
    time.sleep(int(millis) / 1000)


def spin_ignoring_sigterm():
    ignore_signals()
    ready()
    spin()


def spin_for(millis):
    while time.process_time() * 1000 < int(millis):
        pass


def allocate_heap(mib):
    kept = [bytearray(os.urandom(4096) * 16) for _ in range(int(mib) * 16)]
    say(len(kept) // 16)


def allocate_at_once(mib):
    memory = mmap.mmap(-1, int(mib) * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(0, len(memory), mmap.PAGESIZE):
        memory[page] = 1
    say(int(mib))


def fill_folder(folder, mib):
    written = 0
    piece = os.urandom(MIB)
    file = os.open(os.path.join(folder, "fill"), os.O_WRONLY | os.O_CREAT)
    try:
        while written < int(mib) * MIB:
            written += os.write(file, piece)
    except OSError as error:
        print(error, file=sys.stderr)
    say(written // MIB)


def memfd(mib):
    file = os.memfd_create("fill")
    for _ in range(int(mib)):
        write_all(file, b"x" * MIB)
    say(int(mib))


def system_v_memory(mib):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    taken = 0
    for _ in range(int(mib)):
        segment = libc.shmget(0, MIB, 0o600)
        address = libc.shmat(segment, None, 0) if segment != -1 else None
        if address in (None, ctypes.c_void_p(-1).value):
            print(os.strerror(ctypes.get_errno()), file=sys.stderr)
            break
        ctypes.memset(address, 1, MIB)
        libc.shmdt(ctypes.c_void_p(address))
        taken += 1
    say(taken)


def children_until_refused(act):
    children = []
    try:
        while len(children) < 100_000:
            child = os.fork()
            if child == 0:
                act()
            children.append(child)
    except OSError as error:
        print(error, file=sys.stderr)
    say(len(children))
    for child in children:
        os.kill(child, signal.SIGKILL)


def count_forks():
    children_until_refused(wait_for_ever)


def zombies():
    children_until_refused(lambda: os._exit(0))


def count_threads():
    threading.stack_size(64 * 1024)
    over, count = threading.Event(), 0
    try:
        while count < 100_000:
            threading.Thread(target=over.wait, daemon=True).start()
            count += 1
    except RuntimeError as error:
        print(error, file=sys.stderr)
    say(count)
    over.set()


def fork_bomb():
    ready()
    ignore_signals()
    while True:
        try:
            os.fork()
        except OSError:
            pass


def an_orphan():
    """Makes a process whose parent is dead, and that is dead itself at once; returns whether that went."""
    child = os.fork()
    if child == 0:
        try:
            os.fork()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def orphans(count):
    made = misses = 0
    # Whoever reaps orphans may lag behind a little; only what never comes counts.
    while made < int(count) and misses < 200:
        try:
            came = an_orphan()
        except OSError:
            came = False
        if came:
            made, misses = made + 1, 0
        else:
            misses += 1
            time.sleep(0.01)
    say(made)


def leave_detached_child():
    detach()
    os.write(1, b"left\n")


def spin_with_detached_children():
    for _ in range(3):
        detach()
    spin_ignoring_sigterm()


def count_open_files():
    kept = []
    try:
        while len(kept) < 10_000_000:
            kept.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
    count = len(kept)
    for file in kept:
        os.close(file)
    say(count)


def count_inodes(most):
    os.mkdir("many")
    count = 0
    try:
        while count < int(most):
            os.close(os.open(f"many/{count}", os.O_WRONLY | os.O_CREAT))
            count += 1
    except OSError as error:
        print(error, file=sys.stderr)
    say(count)


def worked(act):
    try:
        act()
    except OSError as error:
        print(error, file=sys.stderr)
        return False
    return True


def sparse_file(gib):
    with open("sparse", "wb") as file:
        say(worked(lambda: os.truncate(file.fileno(), int(gib) * 1024 * MIB)))


def fallocate(mib):
    with open("reserved", "wb") as file:
        say(worked(lambda: os.posix_fallocate(file.fileno(), 0, int(mib) * MIB)))


def deep_folders(depth):
    made = 0
    try:
        while made < int(depth):
            os.mkdir("d" * 100)
            os.chdir("d" * 100)
            made += 1
    except OSError as error:
        print(error, file=sys.stderr)
    say(made)


def write_file(path, text):
    with open(path, "w") as file:
        file.write(text)


def read_file(path):
    with open(path, "rb") as file:
        write_all(1, file.read())


def file_mode(path):
    say(os.stat(path).st_mode & 0o7777)


def make_odd_files(fifo, link, target):
    os.mkfifo(fifo)
    os.symlink(target, link)
    ready()
    wait_for_ever()


def leave_traces(name):
    left = [folder for folder in TRACE_FOLDERS if worked(lambda: write_file(os.path.join(folder, name), "trace"))]
    say(left)


def find_traces(name):
    say([folder for folder in TRACE_FOLDERS if os.path.exists(os.path.join(folder, name))])


def print_args(*args):
    say(list(args))


def print_env():
    say(dict(os.environ))


def print_stdin_and_cwd():
    say({"stdin": sys.stdin.read(), "cwd": os.getcwd()})


def use_loopback():
    listening = socket.create_server(("127.0.0.1", 0))
    calling = socket.create_connection(listening.getsockname(), timeout=10)
    answering, _ = listening.accept()
    answering.sendall(b"hello")
    say(calling.recv(5) == b"hello")


def offer_to_neighbours():
    token = os.urandom(16).hex()
    env = {"NEIGHBOUR_TOKEN": token, "NEIGHBOUR_PID": str(os.getpid())}
    kept = []
    try:
        tcp = socket.create_server(("127.0.0.1", 0))
        env["NEIGHBOUR_TCP_PORT"] = str(tcp.getsockname()[1])
        kept.append(tcp)
    except OSError:
        pass
    try:
        abstract = socket.socket(socket.AF_UNIX)
        abstract.bind("\0" + token)
        abstract.listen()
        env["NEIGHBOUR_ABSTRACT"] = token
        kept.append(abstract)
    except OSError:
        pass
    libc = ctypes.CDLL(None)
    libc.shmat.restype = ctypes.c_void_p
    key = int(token[:7], 16) | 1
    shm = libc.shmget(key, 4096, 0o1666)
    if shm != -1:
        ctypes.memmove(libc.shmat(shm, None, 0), token.encode(), len(token))
        env["NEIGHBOUR_SHM"] = str(shm)
        env["NEIGHBOUR_KEY"] = str(key)
    for folder in TRACE_FOLDERS:
        worked(lambda: write_file(os.path.join(folder, token), token))
    say(env)
    wait_for_ever()


def end_as(ending):
    if ending == "crash":
        die_by(signal.SIGSEGV)
    os._exit(7)


def write_to_descriptors(first, data):
    for file in range(first, 256):
        try:
            os.set_blocking(file, False)
            os.write(file, data)
        except OSError:
            pass


def frame(kind, payload, channel=1):
    return len(payload).to_bytes(4, "little") + channel.to_bytes(4, "little") + bytes([kind, 0, 0, 0]) + payload


def forge_frames(ending):
    exited = b'{"status":{"code":0},"mode":"handler","error":null}'
    data = b"".join([
        frame(69, b'"forged"'), frame(70, exited), frame(72, b""), frame(68, b"forged by the guest"),
        frame(70, exited, channel=0), frame(70, exited, channel=2), b"\xff" * 64,
        b"\xff\xff\xff\xff" + bytes(8),
    ])
    write_to_descriptors(0, data)
    end_as(ending)


def forge_result(ending):
    for data in [b'{"output":"forged"}\n', b'"forged"\n', b'{"ok":true,"result":"forged","output":"forged"}\n']:
        write_to_descriptors(3, data)
    end_as(ending)


def kill_everything():
    if os.fork() == 0:
        os.kill(-1, signal.SIGKILL)  # All but itself, and so its parent.
        os._exit(0)
    wait_for_ever()


globals()[{"exit": "exit_with", "signal": "die_by"}.get(sys.argv[1], sys.argv[1])](*sys.argv[2:])
