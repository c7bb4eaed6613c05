"""What functions are annotated with. To resolve annotations takes a while, so each function's are resolved once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, get_type_hints
from weakref import WeakKeyDictionary

_known: Final[WeakKeyDictionary[Callable[..., Any], dict[str, Any]]] = WeakKeyDictionary()


def type_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """As ``typing.get_type_hints`` with extras; not to be changed. Raises: NameError, TypeError."""
    try:
        known = _known.get(function)
    except TypeError:  # a callable that cannot be a key
        return get_type_hints(function, include_extras=True)
    if known is None:
        known = _known[function] = get_type_hints(function, include_extras=True)
    return known
