# Runs a handler or a script. Every line here is compiled before every program, so this file is short and imports next to
# nothing; rare.py holds what only failures and rarities need.
#
# argv: -c, a magic number, this file's byte code, its source, rare.py's source, the program's file, the workload's id,
# its timeout in milliseconds, the program's arguments.
# Descriptor 3 takes the report: H when a handler is called, R and its result, or E and an error.
import builtins
import posix
import sys
from time import monotonic

BEGUN = monotonic()
RARE, PATH, WORKLOAD, TIMEOUT_MS = sys.argv[4:8]
FOLDER, _, NAME = PATH.rpartition("/")


def rare(name):
    names = {"__name__": "<vulcan>", "PATH": PATH}
    exec(compile(RARE, "<vulcan>", "exec"), names)
    return names[name]


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
    posix.set_inheritable(3, False)


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

    workload_id = WORKLOAD
    timeout_ms = int(TIMEOUT_MS)

    def remaining_ms(self):
        return max(0, self.timeout_ms - int((monotonic() - BEGUN) * 1000))

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


def call(handler):
    posix.write(3, b"H")
    given = loads(sys.stdin.buffer.read().decode().strip()), Context()
    result = handler(*given[: arguments(handler)])
    if hasattr(type(result), "__await__"):
        result = rare("wait")(result)
    try:
        text = dumps(result)
    except Exception as error:
        rare("invalid")(error)
    sys.stdout.flush()
    rest = memoryview(b"R" + text.encode())
    while rest:
        rest = rest[posix.write(3, rest) :]


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
    if callable(handler):
        call(handler)


try:
    settle()
    run()
except SystemExit:
    raise
except BaseException as error:
    rare("fail")(error)
