"""holdfast makes Python programs finish what they start: ``import holdfast as hf``.

The names stand in ``holdfast.public``. They are imported when the first of them is used: whoever needs a part of the
package alone, as most commands do, does not wait for the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from holdfast import errors as errors  # so that nobody who needs it alone has to ask below

if TYPE_CHECKING:
    from holdfast.public import *  # noqa: F403 - exactly its names


def __getattr__(name: str) -> Any:
    if name.startswith("__") and name != "__all__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    public = import_module("holdfast.public")
    # From now on they are found without this function.
    globals().update({known: getattr(public, known) for known in ("__all__", *public.__all__)})
    try:
        return globals()[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted({*globals(), *import_module("holdfast.public").__all__})
