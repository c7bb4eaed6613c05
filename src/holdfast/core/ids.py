"""Ids: made from given time and random bits, or derived from names so that uniqueness is the primary key.

Every id is a UUID in its canonical text form (36 characters, lower case). A time-ordered one is version 7; a
derived one is version 8, the version that RFC 9562 leaves to the application. The same names give the same id
in every process and every release: the derivation may never change.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from holdfast.errors import UsageError
from holdfast.model.ids import RunId

RANDOM_BITS: Final = 74
"""How many random bits a version 7 id takes (RFC 9562, section 5.7)."""

_CANONICAL: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_MS_MASK: Final = (1 << 48) - 1
_LOW_MASK: Final = (1 << 62) - 1
_VERSION_7: Final = 7 << 76
_VERSION_8: Final = 8 << 76
_VARIANT: Final = 2 << 62
_DERIVED_MASK: Final = ((1 << 128) - 1) & ~(0xF << 76) & ~(0x3 << 62)


def uuid7(now_ms: int, random_bits: int) -> str:
    """The version 7 UUID of a moment (Unix milliseconds) and 74 random bits; further bits are ignored."""
    high = (now_ms & _MS_MASK) << 80 | (random_bits >> 62 & 0xFFF) << 64
    return _text(high | _VERSION_7 | _VARIANT | random_bits & _LOW_MASK)


def derive_id(*parts: str) -> str:
    """The version 8 UUID of a sequence of texts: equal for equal sequences, different for any others.

    Each part is hashed behind its length, so that ("ab", "c") and ("a", "bc") differ.
    """
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    number = int.from_bytes(digest.digest()[:16], "big")
    return _text(number & _DERIVED_MASK | _VERSION_8 | _VARIANT)


def run_id_for_key(tenant: str, workflow: str, key: str) -> RunId:
    """The id of the one run that a tenant can have for a workflow and an idempotency key."""
    return RunId(derive_id("run", tenant, workflow, key))


def child_id(parent: RunId, key: str) -> RunId:
    """The id of the child that a run starts under a journal key."""
    return RunId(derive_id("child", parent, key))


def retry_id(run_id: RunId) -> RunId:
    """The id of the next attempt of a run."""
    return RunId(derive_id("retry", run_id))


def successor_id(run_id: RunId) -> RunId:
    """The id of the run as which a run continues."""
    return RunId(derive_id("successor", run_id))


def shard_of(run_id: RunId, shards: int) -> int:
    """The shard of a run, 0 to ``shards - 1``: from the id's last 32 bits, which are random or hashed."""
    return int(run_id[-8:], 16) % shards


def check_run_id(text: str) -> RunId:
    """The id that a text from outside spells, in lower case.

    Raises: UsageError if it is no UUID in its canonical form of 36 characters.
    """
    return RunId(check_id("run", text))


def check_id(kind: str, text: str) -> str:
    """The id that a text from outside spells, in lower case; ``kind`` says in the error of what, such as "project".

    Raises: UsageError if it is no UUID in its canonical form of 36 characters.
    """
    if not _CANONICAL.fullmatch(text):
        raise UsageError(
            f"{text[:64]!r} is not a {kind} id: a {kind} id is a UUID such as 0190b5a4-7c2e-7d3a-9f10-2b6c8d4e5f60"
        )
    return text.lower()


def _text(number: int) -> str:
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
