"""What the lint of workflow bodies looks for, and what to write instead."""

from __future__ import annotations

from typing import Final

RULES: Final = {
    "clock": "use hf.now(), which is recorded",
    "random": "use hf.random() or hf.uuid4(), which are recorded, or draw it in a step",
    "sleep": "use hf.sleep(), or hf.blocking.sleep() in a plain workflow: it survives restarts",
    "io": "do it in a step, whose result is recorded",
    "environment": "pass it to the run as input, or read it in a step",
    "task": "use hf.gather() or hf.map(), whose branches are recorded, or do it in a step",
    "unordered": "iterate over sorted(...) of it: its order differs from process to process",
    "global": "pass it as an argument, or read it in a step: another process holds another value",
    "swallowed": "catch Exception, or raise it again: hf.continue_as_new() ends the run by an exception of its own",
    "allow": "name a rule",
}
"""Each rule with its way out."""

OWN_RULES: Final = frozenset({"allow"})
"""Rules about the lint's own comments, which no comment allows."""

_EXACT: Final = {
    **dict.fromkeys(
        (
            "time.time",
            "time.time_ns",
            "time.monotonic",
            "time.monotonic_ns",
            "time.perf_counter",
            "time.perf_counter_ns",
            "time.process_time",
            "time.localtime",
            "time.gmtime",
            "time.ctime",
            "datetime.datetime.now",
            "datetime.datetime.utcnow",
            "datetime.datetime.today",
            "datetime.date.today",
        ),
        "clock",
    ),
    **dict.fromkeys(("uuid.uuid1", "uuid.uuid4", "os.urandom", "os.getrandom", "hash", "id"), "random"),
    **dict.fromkeys(("time.sleep", "asyncio.sleep", "anyio.sleep", "trio.sleep"), "sleep"),
    **dict.fromkeys(
        (
            "open",
            "input",
            "io.open",
            "os.system",
            "os.popen",
            "os.open",
            "os.listdir",
            "os.scandir",
            "os.walk",
            "os.remove",
            "os.unlink",
            "os.rename",
            "os.mkdir",
            "os.makedirs",
            "asyncio.open_connection",
            "asyncio.create_subprocess_exec",
            "asyncio.create_subprocess_shell",
            "urllib.request.urlopen",
        ),
        "io",
    ),
    **dict.fromkeys(("os.getenv", "socket.gethostname", "os.getpid"), "environment"),
    **dict.fromkeys(
        (
            "asyncio.create_task",
            "asyncio.ensure_future",
            "asyncio.gather",
            "asyncio.wait",
            "asyncio.wait_for",
            "asyncio.as_completed",
            "asyncio.timeout",
            "asyncio.TaskGroup",
            "asyncio.to_thread",
            "asyncio.run",
            "anyio.create_task_group",
            "anyio.to_thread.run_sync",
            "os.fork",
        ),
        "task",
    ),
}

_MODULES: Final = {
    "random": "random",
    "secrets": "random",
    "numpy.random": "random",
    "threading": "task",
    "multiprocessing": "task",
    "concurrent.futures": "task",
    **dict.fromkeys(
        (
            "requests",
            "httpx",
            "aiohttp",
            "urllib3",
            "subprocess",
            "socket",
            "shutil",
            "sqlite3",
            "psycopg",
            "asyncpg",
            "boto3",
            "smtplib",
            "glob",
            "tempfile",
        ),
        "io",
    ),
}

_PATHS: Final = frozenset(
    {"read_text", "write_text", "read_bytes", "write_bytes", "open", "unlink", "mkdir", "touch", "iterdir", "exists"}
)

MUTATING: Final = frozenset(
    {"append", "extend", "insert", "pop", "remove", "clear", "add", "discard", "update", "setdefault", "popitem"}
)
"""Methods that change a list, dict or set."""

SET_METHODS: Final = frozenset({"union", "intersection", "difference", "symmetric_difference", "copy"})
"""Methods of a set that answer another one."""

READS_IN_ORDER: Final = frozenset(
    {
        "list",
        "tuple",
        "iter",
        "next",
        "enumerate",
        "map",
        "zip",
        "filter",
        "holdfast.map",
        "holdfast.blocking.map",
    }
)
"""Functions to which the order of a set makes a difference."""


def find_rule(name: str) -> str | None:
    """The rule that a call of a fully named function breaks, if any."""
    rule = _EXACT.get(name)
    if rule is not None:
        return rule
    if name.startswith("pathlib.") and name.rpartition(".")[2] in _PATHS:
        return "io"
    owner = name
    while "." in owner:
        owner = owner.rpartition(".")[0]
        if owner in _MODULES:
            return _MODULES[owner]
    return None
