# What the shim needs for failures and rarities only.
import sys

MESSAGE_CHARS = 8 * 1024
STACK_CHARS = 64 * 1024


def stores_handler(code):
    """Tells whether the module's own code binds the name, other than by def or class."""
    import dis

    return any(i.opname == "STORE_NAME" and i.argval == "handler" for i in dis.get_instructions(code))


def loads(text):
    import json

    return json.loads(text)


def dumps(value, default):
    import json

    return json.dumps(value, default=default, allow_nan=False, separators=(",", ":"))


def parameters(handler):
    """Counts the positional arguments that a handler takes, at most two."""
    import inspect

    try:
        given = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):
        return 2
    if any(p.kind is p.VAR_POSITIONAL for p in given):
        return 2
    return min(2, sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in given))


def wait(awaitable):
    import asyncio

    async def main():
        return await awaitable

    return asyncio.run(main())


def failure(error):
    """Tells the log of an exception that the program did not catch, and returns the report of it."""
    import traceback

    trace = users_part(error.__traceback__)
    stack = "".join(traceback.format_exception(type(error), error, trace))
    say(stack)
    return report("exception", headline(error), stack[-STACK_CHARS:])


def invalid(error):
    """Tells the log of a result that cannot be sent, and returns the report of it."""
    message = "the handler's result cannot be sent as JSON: " + (str(error) or type(error).__name__)
    say(message + "\n")
    return report("output_invalid", message, None)


def exit_code(leaving):
    """Returns the exit code that sys.exit asked for, as the interpreter would."""
    code = leaving.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 255
    say(str(code) + "\n")
    return 1


def users_part(trace):
    """Leaves out what is ours: everything up to the last of our own frames."""
    part = trace
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<vulcan>":
            part = trace.tb_next
        trace = trace.tb_next
    return part


def headline(error):
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = kind.__module__ + "." + name
    try:
        text = str(error)
    except Exception:
        text = "<its text cannot be made>"
    return name + ": " + text if text else name


def say(text):
    try:
        sys.stdout.flush()
        sys.stderr.write(text)
        sys.stderr.flush()
    except Exception:
        pass


def report(code, message, stack):
    import json

    text = json.dumps({"code": code, "message": message[:MESSAGE_CHARS], "stack": stack})
    return b"E" + text.encode()
