"""What a name may be: workflows, steps, signals, queues, tenants and keys."""

from __future__ import annotations

from typing import Final

from holdfast.errors import UsageError

NAME_CHARACTERS_MAX: Final = 200
"""Fits the indexes of both databases four bytes to the character, with room for the other columns."""


def check_name(kind: str, name: str) -> str:
    """The name itself, if it has 1 to 200 characters and all of them are printable.

    ``kind`` says in the error what is being named, such as "workflow".
    Raises: UsageError otherwise (line ends, NUL, other control characters and lone surrogates are not printable).
    """
    if not name:
        raise UsageError(f"a {kind} name must not be empty")
    if len(name) > NAME_CHARACTERS_MAX:
        raise UsageError(
            f"the {kind} name {name[:40]!r}... has {len(name)} characters; the limit is {NAME_CHARACTERS_MAX}"
        )
    if not name.isprintable():
        found = next(character for character in name if not character.isprintable())
        raise UsageError(f"the {kind} name {name!a} contains {found!a}; only printable characters are allowed")
    return name
