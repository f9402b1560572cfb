# Runs a handler or a script. Every line here is compiled before every program, so this file is short and imports next to
# nothing; rare.py holds what only failures and rarities need.
#
# argv: -c, a magic number, this file's byte code, its source, rare.py's source, and then the program's file, the workload's
# id, its timeout in milliseconds, the program's arguments. A resident interpreter has none of these: it is started ahead of
# the code, or to stay with it, and gets them as a job.
#
# Descriptor 3 takes the report: H when a handler is called, R and its result, or E and an error.
#
# Descriptor 4, of residents only, is a socket. Down come jobs, each as its length in four bytes, little-endian, and fields
# between NULs: first mode, number of arguments, file, workload, timeout, arguments, variables; later only workload, timeout,
# input. Up go words of a letter and a number in four bytes: P when the interpreter is ready, B before so many bytes of the
# report, D with the wait status of a call that is over while the handler stays.
import builtins
import posix
import sys
from time import monotonic

BEGUN = monotonic()
RARE = sys.argv[4]
RARE_NAMES = {}
KEPT = {}
REPORT = 3
JOBS = 4


def rare(name):
    if not RARE_NAMES:
        RARE_NAMES.update({"__name__": "<vulcan>", "PATH": PATH})
        exec(compile(RARE, "<vulcan>", "exec"), RARE_NAMES)
    return RARE_NAMES[name]


def send(descriptor, data):
    rest = memoryview(data)
    while rest:
        rest = rest[posix.write(descriptor, rest) :]


def word(letter, number):
    return letter + number.to_bytes(4, "little")


def receive():
    """Waits for the next job. There is none when the agent is gone, and then nobody is left to tell."""
    data = bytearray(posix.read(JOBS, 1 << 16))
    while len(data) < 4 or len(data) - 4 < int.from_bytes(data[:4], "little"):
        more = posix.read(JOBS, 1 << 20)
        if not more:
            posix._exit(0)
        data += more
    return bytes(memoryview(data)[4:])


def keep_json_ahead():
    """Loads what every handler needs; the program sees it when it would have seen it."""
    try:
        import _json

        KEPT["_json"] = sys.modules.pop("_json")
    except ImportError:
        pass


def wait_for_code():
    """Becomes what a fresh interpreter would be that was started with this job; returns the job's mode."""
    posix.set_inheritable(JOBS, False)
    posix.set_inheritable(REPORT, False)
    keep_json_ahead()
    send(JOBS, word(b"P", 0))
    mode, count, path, workload, timeout_ms, *rest = [field.decode() for field in receive().split(b"\0")]
    args, env = rest[: int(count)], rest[int(count) :]
    for given in (sys.argv, getattr(sys, "orig_argv", [])):
        given += path, workload, timeout_ms, *args
    posix.environ.clear()
    for name, _, value in (variable.partition("=") for variable in env):
        posix.putenv(name, value)
        posix.environ[name.encode()] = value.encode()
    if mode == "once":
        posix.close(JOBS)
    return mode


def settle():
    sys.argv[:8] = [PATH]
    if sys.path[0] == "":
        del sys.path[0]
    sys.path.insert(0, FOLDER)
    version = "python%d.%d" % sys.version_info[:2]
    sys.path += (
        "/usr/local/lib/" + version + "/dist-packages",
        "/usr/lib/python3/dist-packages",
        "/usr/local/lib/" + version + "/site-packages",
        "/usr/lib/" + version + "/site-packages",
    )
    builtins.exit = builtins.quit = sys.exit
    # Lines are seen while the program runs.
    sys.stdout.reconfigure(line_buffering=True)
    posix.set_inheritable(REPORT, False)


def binds_handler(code):
    if "handler" not in code.co_names:
        return False
    for const in code.co_consts:
        if getattr(const, "co_name", None) == "handler":
            return True
    return rare("stores_handler")(code)


class Context:
    """What a handler gets as its second argument: attributes, and the same by key.

    workload_id -- the id of this workload
    timeout_ms -- how long the workload may take in all
    remaining_ms() -- how much of that is left
    """

    def __init__(self, workload_id, timeout_ms, begun):
        self.workload_id = workload_id
        self.timeout_ms = timeout_ms
        self._begun = begun

    def remaining_ms(self):
        return max(0, self.timeout_ms - int((monotonic() - self._begun) * 1000))

    def __getitem__(self, name):
        return getattr(self, name)


class Options:
    strict = True
    object_hook = object_pairs_hook = parse_constant = None
    parse_float = float
    parse_int = int


def loads(text):
    if text == "null" or not text:
        return None
    for name in KEPT:
        sys.modules.setdefault(name, KEPT[name])
    try:
        from _json import make_scanner

        value, end = make_scanner(Options)(text, 0)
        if end == len(text):
            return value
    except (ImportError, AttributeError, TypeError, StopIteration):
        pass
    return rare("loads")(text)


def refuse(value):
    raise TypeError("a value of type " + type(value).__name__ + " has no JSON form")


def dumps(value):
    if value is None:
        return "null"
    try:
        from _json import encode_basestring_ascii, make_encoder

        encode = make_encoder({}, refuse, encode_basestring_ascii, None, ":", ",", False, False, False)
    except (ImportError, TypeError):
        return rare("dumps")(value, refuse)
    return "".join(encode(value, 0))


def arguments(handler):
    code = getattr(handler, "__code__", None)
    if code is None or hasattr(handler, "__self__") or hasattr(handler, "__wrapped__"):
        return rare("parameters")(handler)
    return 2 if code.co_flags & 4 else code.co_argcount


def call(handler, text, context):
    """Returns the report of a call, and its exit code."""
    try:
        given = loads(text.decode().strip()), context
        result = handler(*given[: arguments(handler)])
        if hasattr(type(result), "__await__"):
            result = rare("wait")(result)
    except SystemExit:
        raise
    except BaseException as error:
        return rare("failure")(error), 1
    try:
        return b"R" + dumps(result).encode(), 0
    except Exception as error:
        return rare("invalid")(error), 1


def flush():
    for stream in (sys.stdout, sys.stderr, sys.__stdout__):
        try:
            stream.flush()
        except Exception:
            # The program has closed or replaced it.
            pass


def serve_once(handler):
    send(REPORT, b"H")
    report, code = call(handler, sys.stdin.buffer.read(), Context(WORKLOAD, int(TIMEOUT_MS), BEGUN))
    sys.stdout.flush()
    send(REPORT, report)
    leave(code)


def leave(code):
    """Ends the process as the interpreter does, but for taking itself to pieces, which takes longer than most handlers."""
    threading, atexit = sys.modules.get("threading"), sys.modules.get("atexit")
    if threading:
        threading._shutdown()
    if atexit:
        # It tells the log of what fails.
        atexit._run_exitfuncs()
    flush()
    posix._exit(code)


def serve(handler, answer):
    """Serves calls until the agent ends this process, or the handler does."""
    send(REPORT, b"H")
    text, context = sys.stdin.buffer.read(), Context(WORKLOAD, int(TIMEOUT_MS), BEGUN)
    while True:
        send(JOBS, answer(handler, text, context))
        workload, timeout_ms, text = receive().split(b"\0", 2)
        context = Context(workload.decode(), int(timeout_ms), monotonic())


def answer_warm(handler, text, context):
    report, code = call(handler, text, context)
    flush()
    return word(b"B", len(report)) + report + word(b"D", code << 8)


def answer_forked(handler, text, context):
    try:
        child = posix.fork()
    except OSError as error:
        report = rare("failure")(error)
        return word(b"B", len(report)) + report + word(b"D", 1 << 8)
    if child == 0:
        live(handler, text, context)
    status = 0
    try:
        # Its id means its group until it is waited for.
        posix.waitid(posix.P_PID, child, posix.WEXITED | posix.WNOWAIT)
        posix.killpg(child, 9)
        status = posix.waitpid(child, 0)[1]
    except OSError:
        # The program has forgotten its children already (SIGCHLD is ignored); its report tells the rest.
        pass
    return word(b"D", status)


def live(handler, text, context):
    """Serves one call in a process of its own, and ends it; nothing of the process that it was made from runs again."""
    code = 1
    try:
        posix.close(JOBS)
        posix.setsid()
        try:
            report, code = call(handler, text, context)
            flush()
            send(REPORT, report)
        except SystemExit as leaving:
            code = rare("exit_code")(leaving)
            flush()
    finally:
        posix._exit(code)


def run():
    with open(PATH, "rb") as file:
        code = compile(file.read(), PATH, "exec", dont_inherit=True)
    if not binds_handler(code):
        names = sys.modules["__main__"].__dict__
        for name in ("sys", "f", "magic", "code", "source", "marshal"):
            names.pop(name, None)
        names["__file__"] = PATH
        exec(code, names)
        return
    stem = NAME.rpartition(".")[0] or NAME
    module = type(sys)(stem)
    module.__file__ = PATH
    sys.modules.setdefault(stem, module)
    exec(code, module.__dict__)
    handler = getattr(module, "handler", None)
    if not callable(handler):
        return
    if MODE == "once":
        serve_once(handler)
    elif MODE == "warm":
        serve(handler, answer_warm)
    else:
        import gc

        # What is loaded stays shared with the forks: no collection touches it.
        gc.freeze()
        serve(handler, answer_forked)


MODE = "once"
if len(sys.argv) == 5:
    MODE = wait_for_code()
    BEGUN = monotonic()
PATH, WORKLOAD, TIMEOUT_MS = sys.argv[5:8]
FOLDER, _, NAME = PATH.rpartition("/")

try:
    settle()
    run()
except SystemExit:
    raise
except BaseException as error:
    report = rare("failure")(error)
    send(REPORT, report)
    sys.exit(1)
