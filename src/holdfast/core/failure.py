"""Errors as data: what is stored of an exception, and how it becomes an exception again.

A stored error is a strict JSON document::

    {"type", "message", "retryable", "traceback", "args"?, "facts"?, "code"?, "cause"?, "members"?}

``record_failure`` takes any exception, however broken, and keeps bounded, safe text. ``rebuild`` makes an exception of
a class that the program itself has registered; a name found in data is only ever looked up, never imported.
"""

from __future__ import annotations

import builtins
import inspect
import math
import re
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, cast

import msgspec
from msgspec import Struct

from holdfast import errors
from holdfast.core.retry import NonRetryable, RetryAfter
from holdfast.errors import HoldfastError, StepError, StoreCorrupt
from holdfast.model.ids import Json

MESSAGE_BYTES_MAX: Final = 4 * 1024
TRACEBACK_BYTES_MAX: Final = 32 * 1024
CAUSE_TRACEBACK_BYTES_MAX: Final = 8 * 1024
ARGS_BYTES_MAX: Final = 4 * 1024
FACTS_BYTES_MAX: Final = 8 * 1024
TYPE_BYTES_MAX: Final = 400
CAUSES_MAX: Final = 5
MEMBERS_MAX: Final = 10
"""Bounds per stored error, so that the largest one is far below the payload limit."""

_UNSAFE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_PLAIN_DEPTH_MAX: Final = 8
_BYTE_MAX: Final = 0xFF
E = TypeVar("E", bound=BaseException)


class Failure(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A stored error."""

    type: str
    """The exception class as ``module.qualname``, without the module for built-in ones."""
    message: str
    retryable: bool
    traceback: str = ""
    args: list[Any] | None = None
    """The exception's ``args``, if all of them are plain JSON values."""
    facts: dict[str, Any] | None = None
    """The plain ones of its attributes; for a HoldfastError, its facts."""
    code: str | None = None
    """The stable code of a HoldfastError."""
    cause: Failure | None = None
    members: list[Failure] = []
    """The first ten errors of an exception group."""

    @property
    def summary(self) -> str:
        """Type and message in one line."""
        return f"{self.type}: {self.message}" if self.message else self.type


class ErrorRegistry:
    """The exception classes that stored errors may become: built-in ones, holdfast's, and the program's own."""

    def __init__(self) -> None:
        self._classes: dict[str, type[Exception]] = {}
        for module in (builtins, errors):
            self._register_all(vars(module))
        self.register(NonRetryable)
        self.register(RetryAfter)

    def register(self, cls: type[E]) -> type[E]:
        """Let stored errors of this class be rebuilt as themselves. Answers the class, so it can decorate one."""
        if issubclass(cls, Exception):
            self._classes[type_name(cls)] = cls
        return cls

    def register_module_of(self, function: Callable[..., Any]) -> None:
        """Register every exception class that is a global name, at this moment, of the module of a function."""
        self._register_all(getattr(inspect.unwrap(function), "__globals__", {}))

    def find(self, name: str) -> type[Exception] | None:
        """The registered class of that name.

        A class of the main program is found under its module's name too and the other way round, because the
        same file is ``__main__`` in one process and a module in the next.
        """
        found = self._classes.get(name)
        if found is not None:
            return found
        module, _, bare = name.rpartition(".")
        if module == "__main__":
            same = [cls for cls in self._classes.values() if cls.__module__ != "builtins" and cls.__qualname__ == bare]
            return same[0] if len(same) == 1 else None
        return self._classes.get(f"__main__.{bare}") if module else None

    def _register_all(self, names: Mapping[str, Any]) -> None:
        for value in list(names.values()):
            if isinstance(value, type) and issubclass(value, Exception):
                self.register(value)


def type_name(cls: type[BaseException]) -> str:
    """The name under which a class is stored and registered."""
    name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    return _head(_safe(name), TYPE_BYTES_MAX)


# --- Writing -----------------------------------------------------------------------------------------------------


def record_failure(error: BaseException, *, retryable: bool) -> Json:
    """The stored form of any exception. Never fails, whatever the exception holds or does."""
    failure = _failure_of(
        error, retryable=retryable, traceback_max=TRACEBACK_BYTES_MAX, causes=CAUSES_MAX, seen={id(error)}
    )
    return Json(msgspec.json.encode(failure))


def _failure_of(error: BaseException, *, retryable: bool, traceback_max: int, causes: int, seen: set[int]) -> Failure:
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    stored_cause: Failure | None = None
    if cause is not None and causes > 0 and id(cause) not in seen:
        seen.add(id(cause))
        stored_cause = _failure_of(
            cause, retryable=retryable, traceback_max=CAUSE_TRACEBACK_BYTES_MAX, causes=causes - 1, seen=seen
        )
    return Failure(
        type=type_name(type(error)),
        message=_message(error),
        retryable=retryable,
        traceback=_ends(_safe(_traceback(error)), traceback_max),
        args=_plain_args(error),
        facts=_plain_facts(error),
        code=error.code if isinstance(error, HoldfastError) else None,
        cause=stored_cause,
        members=_members(error, retryable=retryable, causes=causes, seen=seen),
    )


def _members(error: BaseException, *, retryable: bool, causes: int, seen: set[int]) -> list[Failure]:
    if not isinstance(error, BaseExceptionGroup) or causes <= 0:
        return []
    members: list[Failure] = []
    for member in cast("BaseExceptionGroup[BaseException]", error).exceptions[:MEMBERS_MAX]:
        if id(member) not in seen:
            seen.add(id(member))
            # The group's own traceback shows its members' already.
            members.append(_failure_of(member, retryable=retryable, traceback_max=0, causes=causes - 1, seen=seen))
    return members


def _message(error: BaseException) -> str:
    try:
        text = error.message if isinstance(error, BaseExceptionGroup) else str(error)
        return _head(_safe(text[: MESSAGE_BYTES_MAX + 1]), MESSAGE_BYTES_MAX)
    except Exception as broken:  # noqa: BLE001 - the user's code
        return f"<its text cannot be had: {type_name(type(broken))}>"


def _traceback(error: BaseException) -> str:
    """The error's own traceback; its causes carry theirs."""
    try:
        return "".join(traceback.format_exception(type(error), error, error.__traceback__, chain=False))
    except Exception as broken:  # noqa: BLE001 - the user's code
        return f"<its traceback cannot be had: {type_name(type(broken))}>"


def _plain_args(error: BaseException) -> list[Any] | None:
    args: Any = error.args
    if isinstance(error, OSError) and isinstance(error.filename, str):
        args = (error.errno, error.strerror, error.filename)  # an OSError keeps the file name outside its args
    plain = list(cast("tuple[Any, ...]", args))
    return plain if _is_plain(plain, _PLAIN_DEPTH_MAX) and _size(plain) <= ARGS_BYTES_MAX else None


def _plain_facts(error: BaseException) -> dict[str, Any] | None:
    """What else the program may want to know of it. Of our own errors, what is no plain value is kept as text."""
    ours = isinstance(error, HoldfastError)
    attributes: dict[Any, Any] = dict(error.__dict__.get("facts", {}) if ours else error.__dict__)
    facts: dict[str, Any] = {}
    left = FACTS_BYTES_MAX
    for name, attribute in attributes.items():
        if not isinstance(name, str) or name.startswith("__") or _UNSAFE.search(name):
            continue
        plain = _is_plain(attribute, _PLAIN_DEPTH_MAX)
        if not (plain or ours):
            continue
        value = attribute if plain else _shown(attribute)
        left -= _size(value) + len(name)
        if left < 0:
            break
        facts[name] = value
    return facts or None


def _shown(value: object) -> str:
    try:
        return _head(_safe(str(value)[: MESSAGE_BYTES_MAX + 1]), MESSAGE_BYTES_MAX // 4)
    except Exception as broken:  # noqa: BLE001 - the user's code
        return f"<its text cannot be had: {type_name(type(broken))}>"


def _is_plain(value: Any, depth: int) -> bool:
    """Whether JSON gives a value back exactly, types included; so no tuples and no subclasses."""
    kind = cast("type[object]", type(value))
    if value is None or kind is bool:
        return True
    if kind is str:
        return not _UNSAFE.search(value)
    if kind is int:
        return bool(-(2**63) <= value < 2**64)
    if kind is float:
        return math.isfinite(value)
    if depth == 0 or kind not in (list, dict):
        return False
    if kind is list:
        return all(_is_plain(item, depth - 1) for item in value)
    return all(type(key) is str and _is_plain(key, 0) and _is_plain(item, depth - 1) for key, item in value.items())


def _size(plain: object) -> int:
    return len(msgspec.json.encode(plain))


def _safe(text: str) -> str:
    r"""Text without NUL, other control characters (but line ends and tabs) and surrogates: they become ``\x00`` etc."""
    return _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code <= _BYTE_MAX else f"\\u{code:04x}"


def _head(text: str, bytes_max: int) -> str:
    data = text.encode()
    if len(data) <= bytes_max:
        return text
    return data[: max(bytes_max - 3, 0)].decode("utf-8", "ignore") + "..."


def _ends(text: str, bytes_max: int) -> str:
    """A text cut in the middle, for a traceback says most at its ends."""
    data = text.encode()
    if len(data) <= bytes_max:
        return text
    half = (bytes_max - 40) // 2
    if half <= 0:
        return ""
    cut = f"\n... {len(data) - 2 * half} bytes left out ...\n"
    return data[:half].decode("utf-8", "ignore") + cut + data[-half:].decode("utf-8", "ignore")


# --- Reading -----------------------------------------------------------------------------------------------------

_decode: Final = msgspec.json.Decoder(Failure).decode


def read_failure(payload: Json) -> Failure:
    """The stored error of a payload. Raises: StoreCorrupt if it is none."""
    try:
        return _decode(payload)
    except Exception as error:  # malformed, of another shape, or nested beyond the parser's stack
        raise StoreCorrupt(what="a stored error", why=str(error) or type(error).__name__) from error


def rebuild(failure: Failure, registry: ErrorRegistry) -> Exception:
    """An exception of the stored type with the same message, or a StepError if that type is not registered.

    Its cause is rebuilt too, and the stored traceback is attached as a note. Never fails.
    """
    return _rebuild(failure, registry, CAUSES_MAX)


def _rebuild(failure: Failure, registry: ErrorRegistry, causes: int) -> Exception:
    cls = registry.find(failure.type)
    error: Exception | None = None
    if cls is not None:
        try:
            error = _instance(cls, failure, registry, causes)
        except Exception:  # noqa: BLE001 - the class's own code refuses; a StepError says the same
            error = None
    if error is None:
        error = StepError(type=failure.type, message=failure.message)
    if failure.cause is not None and causes > 0:
        error.__cause__ = _rebuild(failure.cause, registry, causes - 1)
    if failure.traceback:
        BaseException.add_note(error, f"Where it was raised first:\n{failure.traceback}")
    return error


def _instance(cls: type[Exception], failure: Failure, registry: ErrorRegistry, causes: int) -> Exception | None:
    if issubclass(cls, HoldfastError):
        return cls(**(failure.facts or {"message": failure.message}))
    if issubclass(cls, ExceptionGroup):
        group = cast("type[ExceptionGroup[Exception]]", cls)
        members = [_rebuild(member, registry, causes - 1) for member in failure.members if causes > 0]
        return group(failure.message, members) if members else None
    error = _constructed(cls, failure)
    if error is None:
        error = _bare(cls, failure)
    for name, value in (failure.facts or {}).items():
        error.__dict__.setdefault(name, value)
    str(error)  # a class whose text needs what was not stored would fail later, in the program's hands
    return error


def _constructed(cls: type[Exception], failure: Failure) -> Exception | None:
    """``cls(*args)``, if that works and says the same as the original did."""
    if failure.args is None:
        return None
    try:
        error = cls(*failure.args)
        return error if isinstance(error, cls) and _message(error) == failure.message else None
    except Exception:  # noqa: BLE001 - its constructor takes something else than its args
        return None


def _bare(cls: type[Exception], failure: Failure) -> Exception:
    """An instance whose ``__init__`` was not called, made by the nearest built-in base."""
    base: Any = next(base for base in cls.__mro__ if base.__module__ == "builtins")
    error: Exception = base.__new__(cls)
    error.args = (failure.message,)
    return error
