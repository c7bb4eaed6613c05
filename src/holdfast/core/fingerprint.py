"""What runs' errors have in common: a fingerprint of type, message and the place where it was raised.

Numbers, ids and addresses in a message differ from run to run, and line numbers from release to release: neither is
part of the fingerprint. It is stored when a run ends; the derivation should change rarely, for groups begin anew then.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from holdfast.model.ids import Json

MESSAGE_CHARACTERS_MAX: Final = 1_000
TYPE_CHARACTERS_MAX: Final = 400

_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_FRAME: Final = re.compile(r'^\s*File "([^"]*)", line \d+, in (.+)$', re.MULTILINE)
_SEPARATOR: Final = re.compile(r"[/\\]")
_VARIABLE: Final = (
    (re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"), "<id>"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b"), "<address>"),
    (re.compile(r"\b(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{12,}\b"), "<id>"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "<number>"),
    (re.compile(r"\s+"), " "),
)


class ErrorFacts(Struct, frozen=True):
    """What a run's row holds of the error that it ended with."""

    type: str
    message: str
    fingerprint: str


def error_facts(stored: Json) -> ErrorFacts:
    """The facts of a stored error; never fails, whatever was stored."""
    try:
        decoded: Any = msgspec.json.decode(stored)
    except Exception:  # noqa: BLE001 - malformed, or nested beyond the parser's stack
        decoded = None
    error = cast("dict[str, Any]", decoded) if isinstance(decoded, dict) else {"type": "unreadable"}
    type_ = _text(error.get("type"), TYPE_CHARACTERS_MAX)
    message = _text(error.get("message"), MESSAGE_CHARACTERS_MAX)
    traceback = error.get("traceback")
    frames = _FRAME.findall(traceback) if isinstance(traceback, str) else []
    file, function = frames[-1] if frames else ("", "")
    place = f"{_SEPARATOR.split(file)[-1]}:{function}" if frames else ""
    parts = (type_, _normalised(message), place)
    digest = hashlib.blake2s("\x1f".join(parts).encode("utf-8", "replace"), digest_size=8)
    return ErrorFacts(type_, message, digest.hexdigest())


def _normalised(message: str) -> str:
    for pattern, mark in _VARIABLE:
        message = pattern.sub(mark, message)
    return message.strip()


def _text(value: object, characters_max: int) -> str:
    return _UNSAFE.sub(" ", value if isinstance(value, str) else "")[:characters_max]
