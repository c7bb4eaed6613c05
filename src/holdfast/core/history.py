"""Recorded runs as text: one JSON document per run and line, to be kept in files and replayed against later code.

A document names its ``format`` and ``version``, so that a file tells what it is and a later release can read it.
Payloads stand in it as the JSON they are. A redacted one has none, no errors, and neither the caller's key nor
attributes. It shows what a run did, and when; it cannot be replayed. The history of a graph's run holds the document of
the version that it follows, so that it can be replayed anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from holdfast.core.definitions import canonical_bytes
from holdfast.errors import HistoryUnreadable
from holdfast.model.definition import Definition
from holdfast.model.ids import Json, RunId, Tenant, UnixMs
from holdfast.model.run import Attempt, Entry, RunDetail, Wait
from holdfast.model.status import RunStatus

FORMAT: Final = "holdfast.history"
VERSION: Final = 1

DEFINITIONS_KEPT: Final = 200
"""How many versions are remembered while histories are read."""

S = TypeVar("S", bound=Struct)


class HistoryRun(Struct, frozen=True, kw_only=True):
    """What a history tells of the run itself."""

    id: RunId
    tenant: Tenant
    workflow: str
    queue: str
    status: RunStatus
    status_reason: str
    terminal_reason: str | None = None
    input: Json
    result: Json | None = None
    error: Json | None = None
    key: str | None = None
    priority: int = 0
    root_id: RunId
    attempt: int = 1
    epoch: int
    version: int | None = None
    definition_hash: str | None = None
    created_ms: UnixMs
    deadline_ms: UnixMs | None = None
    attributes: dict[str, str] = {}


class History(Struct, frozen=True, kw_only=True):
    """One run as recorded: what its code is replayed against."""

    run: HistoryRun
    journal: list[Entry] = []
    waits: list[Wait] = []
    attempts: list[Attempt] = []
    redacted: bool = False
    definition: Definition | None = None
    """The version that a graph's run follows; None if it was not recorded with it."""


def history_of(detail: RunDetail, definition: Definition | None = None) -> History:
    """The history of a run that a client has read, with the version that it follows if it is a graph's."""
    run = HistoryRun(**{name: getattr(detail.run, name) for name in HistoryRun.__struct_fields__})
    return History(run=run, journal=detail.journal, waits=detail.waits, attempts=detail.attempts, definition=definition)


def redact(history: History) -> History:
    """The history without payloads, errors, caller's key, attributes and definition."""
    run = msgspec.structs.replace(history.run, input=_NULL, result=None, error=None, key=None, attributes={})
    return History(
        run=run,
        journal=[msgspec.structs.replace(entry, input=None, result=None, error=None) for entry in history.journal],
        waits=[msgspec.structs.replace(wait, result=None, error=None) for wait in history.waits],
        attempts=[msgspec.structs.replace(attempt, error=_NULL) for attempt in history.attempts],
        redacted=True,
    )


def encode_history(history: History) -> bytes:
    """The history as one line of JSON, without the line's end."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "redacted": history.redacted,
        "run": _store(history.run),
        "journal": [_store(entry) for entry in history.journal],
        "waits": [_store(wait) for wait in history.waits],
        "attempts": [_store(attempt) for attempt in history.attempts],
    }
    if history.definition is not None:
        document["definition"] = msgspec.Raw(canonical_bytes(history.definition))
    return _ENCODER.encode(document)


def decode_history(line: bytes, where: str) -> History:
    """The history that a line holds; ``where`` says in the error which line it was.

    Raises: HistoryUnreadable for anything else, also for a version that is newer than this release.
    """
    try:
        stored = _DECODER.decode(line)
        definition = _read_definition(bytes(stored.definition))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise HistoryUnreadable(where=where, why=_why(line, error)) from error
    if stored.format != FORMAT or stored.version != VERSION:
        raise HistoryUnreadable(where=where, why=_why(line, ValueError()))
    return History(
        run=_load(HistoryRun, stored.run),
        journal=[_load(Entry, one) for one in stored.journal],
        waits=[_load(Wait, one) for one in stored.waits],
        attempts=[_load(Attempt, one) for one in stored.attempts],
        redacted=stored.redacted,
        definition=definition,
    )


@lru_cache(maxsize=DEFINITIONS_KEPT)
def _read_definition(document: bytes) -> Definition | None:
    """The same object for the same text, for many histories follow one version."""
    return _decode_definition(document) if document else None


class _Header(Struct):
    format: str
    version: int


def _why(line: bytes, error: Exception) -> str:
    """Another version says so, rather than what it lacks."""
    try:
        header = msgspec.json.decode(line, type=_Header)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return str(error)
    if (header.format, header.version) == (FORMAT, VERSION):
        return str(error)
    return f"it is {header.format!r} version {header.version}, and this release reads {FORMAT!r} version {VERSION}"


# A payload is JSON within JSON: kept to the letter, for a fingerprint or a type may depend on it.

_NULL: Final = Json(b"null")
_ABSENT: Final = msgspec.Raw(b"")
_PAYLOADS: Final = frozenset({"input", "result", "error"})


def _twin(cls: type[Struct]) -> type[Struct]:
    """A struct with the fields of another, whose payloads are raw JSON."""
    fields: list[Any] = []
    for field in msgspec.structs.fields(cls):
        if field.name in _PAYLOADS:
            fields.append((field.encode_name, msgspec.Raw, _ABSENT))
        elif field.default is not msgspec.NODEFAULT:
            fields.append((field.encode_name, field.type, field.default))
        elif field.default_factory is not msgspec.NODEFAULT:
            fields.append((field.encode_name, field.type, msgspec.field(default_factory=field.default_factory)))
        else:
            fields.append((field.encode_name, field.type))
    return msgspec.defstruct(f"Stored{cls.__name__}", fields, kw_only=True, omit_defaults=True)


_TWINS: Final[dict[Any, Any]] = {cls: _twin(cls) for cls in (HistoryRun, Entry, Wait, Attempt)}
_LISTS: Final = {"journal": Entry, "waits": Wait, "attempts": Attempt}
_DOCUMENT: Final[Any] = msgspec.defstruct(
    "Document",
    [
        ("format", str),
        ("version", int),
        ("redacted", bool, False),
        ("run", _TWINS[HistoryRun]),
        ("definition", msgspec.Raw, _ABSENT),
        *((name, list.__class_getitem__(_TWINS[cls])) for name, cls in _LISTS.items()),
    ],
    kw_only=True,
)
_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(_DOCUMENT)
_decode_definition: Final = msgspec.json.Decoder(Definition).decode


_GETTERS: Final[dict[type[Struct], tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]]] = {
    cls: (cls.__struct_fields__, attrgetter(*cls.__struct_fields__)) for cls in _TWINS
}


def _store(record: Struct) -> Any:
    names, get = _GETTERS[type(record)]
    values = dict(zip(names, get(record), strict=True))
    for name in _PAYLOADS & values.keys():
        payload = values[name]
        # No string of JSON holds a bare line end, so what goes here is only space between its parts.
        values[name] = _ABSENT if payload is None else msgspec.Raw(payload.replace(b"\n", b" ").replace(b"\r", b" "))
    return _TWINS[type(record)](**values)


def _load(cls: type[S], stored: Any) -> S:
    names, get = _GETTERS[cls]
    values = dict(zip(names, get(stored), strict=True))
    for name in ("input", "result", "error"):
        if name in values:
            values[name] = bytes(values[name]) or None
    return cls(**values)
