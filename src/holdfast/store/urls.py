"""Database URLs: which file one names, and how one is shown without its secrets. Imports no database's driver."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from holdfast.errors import StoreMisconfigured

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

UNREADABLE: Final = "the database URL"
"""What messages call a URL that cannot be read: what stands where is unknown, so any part of it may be a secret."""

_SCHEME: Final = re.compile(r"([a-z][a-z0-9]*)(\+[a-z0-9]+)?://", re.IGNORECASE)
_SECRETS: Final = frozenset({"password", "sslpassword", "oauth_client_secret"})


def read_scheme(url: str) -> str:
    """What the URL begins with, without a driver's name: ``sqlite``, ``postgresql``. Raises StoreMisconfigured."""
    found = _SCHEME.match(url)
    if found is None:
        raise StoreMisconfigured(url=UNREADABLE, why="it must begin with sqlite:/// or postgresql://")
    return found.group(1).lower()


def read_sqlite_path(url: str) -> str:
    """The file that a SQLite URL names. Raises StoreMisconfigured if it names none, or has parameters."""
    path = url.partition("://")[2]
    if not path.startswith("/") or path == "/":
        why = "it names no file; use sqlite:///relative.db or sqlite:////absolute.db"
        raise StoreMisconfigured(url=url, why=why)
    if "?" in path:
        raise StoreMisconfigured(url=url.partition("?")[0], why="a SQLite URL takes no parameters")
    return path[1:]


def shown(url: URL) -> str:
    """The URL for messages: without its password, and without parameters that are secrets."""
    from sqlalchemy.engine import URL

    query = {key: value for key, value in url.query.items() if key not in _SECRETS}
    # URL.set(password=None) would leave the password as it is.
    bare = URL.create(url.get_backend_name(), url.username, None, url.host, url.port, url.database, query)
    return bare.render_as_string(hide_password=False)


def one_line(error: BaseException) -> str:
    """What an error of a driver says, as one line."""
    return " ".join(str(error).split()) or type(error).__name__
