"""The cursor of a listing: where the next page begins, as opaque text.

Runs are listed by a moment and their id; a cursor names the last run of the page before, so that runs that come or go
meanwhile neither repeat nor hide others. It is to be used with the same filter and order.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from msgspec import Struct

from holdfast.errors import UsageError
from holdfast.model.ids import RunId, UnixMs
from holdfast.model.run import Approval, ApprovalPage

WINDOW = 500
"""How many runs a page looks at for what no index serves."""

GATHERED = 2_000
"""A wait that at most so many runs have is an index of its own: they are all looked at and sorted."""

_VERSION = "1"
_MS_MAX = 2**63 - 1
_LENGTH_MAX = 2048
_ID_LENGTH = 36


class PageCursor(Struct, frozen=True):
    """The last run that a page looked at: the next page begins behind it."""

    created_ms: UnixMs
    """The moment by which the listing is ordered: when the run was created, or when it ended."""
    id: RunId


def encode_cursor(cursor: PageCursor) -> str:
    """The cursor as text that is safe in a URL."""
    text = f"{_VERSION}:{cursor.created_ms}:{cursor.id}"
    return base64.urlsafe_b64encode(text.encode()).decode("ascii").rstrip("=")


def decode_cursor(text: str) -> PageCursor:
    """Read back what ``encode_cursor`` made. Raises UsageError for anything else."""
    try:
        if len(text) > _LENGTH_MAX:
            raise ValueError(text)
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        version, created, run_id = base64.b64decode(padded, altchars=b"-_", validate=True).decode().split(":", 2)
        if version != _VERSION or not run_id or not (created.isascii() and created.isdigit()):
            raise ValueError(text)
        created_ms = int(created)
        if created_ms > _MS_MAX or "\x00" in run_id:
            raise ValueError(text)
    except (ValueError, binascii.Error) as error:
        raise UsageError("the cursor of the page was not given out by this listing") from error
    return PageCursor(UnixMs(created_ms), RunId(run_id))


Place = tuple[UnixMs, RunId, str]
"""Where an approval stands in the inbox: when it was asked, by which run, under which key."""


def place_of(approval: Approval) -> Place:
    """The approval's place: the oldest comes first."""
    return (approval.opened_ms, approval.run_id, approval.key)


def approval_page(approvals: Sequence[Approval], *, limit: int) -> ApprovalPage:
    """The page of approvals of which one more was read than it holds."""
    page = list(approvals[: max(limit, 0)])
    if len(approvals) <= len(page) or not page:
        return ApprovalPage(page, None)
    opened_ms, run_id, key = place_of(page[-1])
    return ApprovalPage(page, encode_cursor(PageCursor(opened_ms, RunId(f"{run_id}/{key}"))))


def decode_place(text: str) -> Place:
    """The place in a cursor of the inbox. Raises UsageError for anything else."""
    cursor = decode_cursor(text)
    run_id, slash, key = cursor.id.partition("/")
    if not slash or len(run_id) != _ID_LENGTH:
        raise UsageError("the cursor of the page was not given out by this listing")
    return (cursor.created_ms, RunId(run_id), key)
