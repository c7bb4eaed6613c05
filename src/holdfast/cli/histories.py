"""Reading what runs recorded, with the versions that they follow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from holdfast.cli.database import Session
from holdfast.core.history import History, encode_history, history_of
from holdfast.errors import DefinitionNotFound
from holdfast.model.definition import Definition
from holdfast.model.run import Run
from holdfast.model.status import ACTIVE_STATUSES

PAGE: Final = 1000
"""Runs read from the database at once."""


def live_runs(session: Session, workflow: str | None, statuses: list[Any]) -> Iterator[Run]:
    """The runs of these statuses, by default those that have not ended, page by page."""
    after: str | None = None
    while True:
        page = session.client.list(
            status=statuses or sorted(ACTIVE_STATUSES), workflow=workflow, limit=PAGE, after=after
        )
        yield from page.runs
        after = page.next
        if after is None:
            return


def read_run_lines(session: Session, run_ids: Iterable[str]) -> Iterator[bytes]:
    """Their histories, each as its line."""
    return map(encode_history, read_run_histories(session, run_ids))


def read_run_histories(session: Session, run_ids: Iterable[str]) -> Iterator[History]:
    """Their histories, those of graphs with the versions that they follow."""
    known: dict[tuple[str, str], Definition | None] = {}
    for run_id in run_ids:
        detail = session.client.detail(run_id)
        digest = detail.run.definition_hash
        if digest is None:
            yield history_of(detail)
            continue
        place = (detail.run.workflow, digest)
        if place not in known:
            known[place] = find_version(session, *place)
        yield history_of(detail, known[place])


def find_version(session: Session, workflow: str, digest: str) -> Definition | None:
    """The version of that hash; None if it is not stored."""
    try:
        return session.client.definitions.get(workflow, digest).definition
    except DefinitionNotFound:
        # A run that was imported without its version: it is told as skipped.
        return None
