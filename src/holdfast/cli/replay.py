"""``holdfast replay``: recorded histories against the code at hand, before it is deployed."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from msgspec import Struct

from holdfast.app import App
from holdfast.cli import options
from holdfast.cli.database import open_session
from holdfast.cli.exits import Exit
from holdfast.cli.histories import live_runs, read_run_lines
from holdfast.cli.output import Output, one_line
from holdfast.cli.shapes import plain
from holdfast.cli.target import load_app
from holdfast.core.history import decode_history
from holdfast.errors import UsageError
from holdfast.model.ids import DEFAULT_TENANT
from holdfast.runtime.host import ProcessHost, calm_garbage_collector
from holdfast.runtime.replay import ReplayReport, replay_all

CHUNK: Final = 500
"""Histories that are handed to a process at once."""


class Chunk(Struct, frozen=True):
    """Some lines of a file, or as if they were."""

    name: str
    first: int
    """The number of the first line."""
    lines: list[bytes]


def replay(
    target: options.Target,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE|RUN]...",
            help="Files of `runs export-history`, and ids of runs. Default: every live run of the database.",
            show_default=False,
        ),
    ] = None,
    *,
    workflow: options.WorkflowFilter = None,
    status: options.StatusFilter = None,
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes",
            metavar="N",
            min=1,
            help="Processes to share the work. Default: one per CPU.",
            show_default=False,
        ),
    ] = None,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Re-execute recorded histories against the code at hand, and say where they part. No handler runs.

    Nothing is written. A history is followed to its end: what is recorded must be asked for, and a run that had ended
    must end again. Exit status 1 if any history parts, so that it can stand in a CI job before a deploy.
    """
    output = Output(as_json=as_json)
    app = load_app(target)
    statuses = _split(status)
    with _chunks(app, sources or [], workflow, statuses, database, tenant) as chunks:
        report = _replay_chunks(target, app, chunks, workflow, processes or os.cpu_count() or 1)
    if report.skipped and not report.replayed:
        names = ", ".join(sorted(report.skipped))
        raise UsageError(f"{target} can execute none of these histories: {names}")
    _show(output, report)
    if report.partings:
        raise typer.Exit(Exit.FAILED)


def _split(status: list[str] | None) -> list[Any]:
    return [one for each in status or [] for one in each.split(",") if one]


# Where the histories are


@contextlib.contextmanager
def _chunks(
    app: App, sources: list[str], workflow: str | None, statuses: list[Any], database: str | None, tenant: str
) -> Generator[Iterator[Chunk]]:
    files = [Path(source) for source in sources if Path(source).is_file()]
    run_ids = [source for source in sources if not Path(source).is_file()]
    for name in run_ids:
        if "." in name or "/" in name:
            raise UsageError(f"there is no file {name!r}; a history comes from a file, or from a run by its id")
    in_files = chain.from_iterable(_read_file(file) for file in files)
    if sources and not run_ids:
        yield in_files
        return
    with open_session(database, tenant, app=app) as session:
        runs = iter(run_ids) if sources else (run.id for run in live_runs(session, workflow, statuses))
        yield chain(in_files, _pack("the database", read_run_lines(session, runs)))


def _read_file(path: Path) -> Iterator[Chunk]:
    with path.open("rb") as lines:
        yield from _pack(str(path), lines)


def _pack(name: str, lines: Iterable[bytes]) -> Iterator[Chunk]:
    first, left = 1, iter(lines)
    while taken := list(islice(left, CHUNK)):
        yield Chunk(name, first, taken)
        first += len(taken)


# Sharing the work


def _replay_chunks(
    target: str, app: App, chunks: Iterator[Chunk], workflow: str | None, processes: int
) -> ReplayReport:
    report = ReplayReport(partings=[], skipped={})
    start = list(islice(chunks, 2))
    if processes == 1 or len(start) <= 1:
        # To start a process takes as long as to replay a chunk or two.
        for chunk in chain(start, chunks):
            report.add(_replay_chunk(app, chunk, workflow))
        return report
    with ProcessPoolExecutor(processes, get_context("spawn"), _begin_process, (target,)) as pool:
        under_way: deque[Future[ReplayReport]] = deque()
        for chunk in chain(start, chunks):
            under_way.append(pool.submit(_replay_in_process, chunk, workflow))
            if len(under_way) > 2 * processes:
                report.add(under_way.popleft().result())
        for future in under_way:
            report.add(future.result())
    return report


_loaded: dict[str, App] = {}
"""The App of a process that replays for another."""


def _begin_process(target: str) -> None:
    _loaded["app"] = load_app(target)
    calm_garbage_collector()


def _replay_in_process(chunk: Chunk, workflow: str | None) -> ReplayReport:
    return _replay_chunk(_loaded["app"], chunk, workflow)


def _replay_chunk(app: App, chunk: Chunk, workflow: str | None) -> ReplayReport:
    histories = (
        decode_history(line, f"line {number} of {chunk.name}")
        for number, line in enumerate(chunk.lines, start=chunk.first)
        if line.strip()
    )
    wanted = (history for history in histories if workflow is None or history.run.workflow == workflow)
    with contextlib.closing(ProcessHost()) as host:
        return replay_all(app, wanted, host.run_thread)


# The answer


def _show(output: Output, report: ReplayReport) -> None:
    if output.as_json:
        output.document({"replayed": report.replayed, "partings": plain(report.partings), "skipped": report.skipped})
        return
    for parting in report.partings:
        output.say(f"{parting.source or parting.workflow}: {one_line(str(parting))}")
    for name, count in sorted(report.skipped.items()):
        output.say(f"skipped {count} of workflow {name!r}, which this App cannot execute")
    parted = len(report.partings)
    verdict = f"{parted} part from the code" if parted else "all agree with the code"
    output.say(f"{report.replayed} histories replayed: {verdict}" if report.replayed else "no histories to replay")
