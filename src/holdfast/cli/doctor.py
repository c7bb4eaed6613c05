"""``holdfast doctor``: what may be wrong with an installation, each with what to do."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Final

import typer
from rich.text import Text

from holdfast.cli import options
from holdfast.cli.database import NoDatabaseFile, choose_url, find_database, sqlite_file
from holdfast.cli.exits import Exit, way_out
from holdfast.cli.output import Output, one_line
from holdfast.cli.tables import show_span
from holdfast.errors import SchemaTooNew, SchemaTooOld, StoreError, StoreMisconfigured
from holdfast.model.ids import DEFAULT_TENANT, Tenant
from holdfast.model.run import Run, RunFilter, WorkerRow
from holdfast.model.status import RunStatus
from holdfast.store.port import Store, count_runs
from holdfast.store.schema import HEAD

CLOCK_MS_MAX: Final = 1000
"""Clocks that differ by more deserve a word. Nothing depends on it: timers and leases go by the database's clock."""

RUNS_MAX: Final = 2000
"""How many runs that nobody holds are looked at for a worker that knows them."""

_PAGE: Final = 500


class Verdict(StrEnum):
    """What came of a check."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check's outcome, and what to do about it."""

    name: str
    verdict: Verdict
    finding: str
    advice: str = ""


_STYLES: Final = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}


def doctor(
    *,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Check database, tables, clocks, workers and runs, and say what to do. Exit status 1 if a check fails."""
    output = Output(as_json=as_json)
    checks: list[Check] = []
    for found in examine(choose_url(database, None), Tenant(tenant)):
        check = replace(found, finding=one_line(found.finding))
        checks.append(check)
        if not as_json:
            line = Text.assemble(
                (f"{check.verdict.value:<6}", _STYLES[check.verdict]), f"{check.name:<10}", check.finding
            )
            output.console.print(line, soft_wrap=True)
            if check.advice:
                output.say(f"{'':16}{check.advice}")
    failed = any(check.verdict is Verdict.FAIL for check in checks)
    if as_json:
        output.document({"ok": not failed, "checks": [asdict(check) for check in checks]})
    if failed:
        raise typer.Exit(Exit.FAILED)


def examine(url: str, tenant: Tenant) -> Iterator[Check]:
    """The checks in order; those that need what failed before are left out."""
    try:
        store = find_database(url)
    except NoDatabaseFile as error:
        advice = "`holdfast migrate` or `holdfast dev` makes it"
        yield Check(name="database", verdict=Verdict.FAIL, finding=f"there is no file {error.file}", advice=advice)
        return
    except StoreMisconfigured as error:
        yield Check(
            name="database",
            verdict=Verdict.FAIL,
            finding=str(error),
            advice="pass --database sqlite:///FILE or postgresql://USER@HOST/NAME",
        )
        return
    try:
        yield Check(name="url", verdict=Verdict.OK, finding=store.url)
        if sqlite_file(url) is not None:
            yield _check_library()
        schema = _check_schema(store)
        yield schema
        if schema.verdict is Verdict.OK:
            yield _guarded("clock", lambda: _check_clock(store))
            yield _guarded("workers", lambda: _check_workers(store))
            yield _guarded("unknown", lambda: _check_unknown(store, tenant))
            yield _guarded("stuck", lambda: _check_stuck(store, tenant))
            if sqlite_file(url) is None:
                yield _guarded("wall", lambda: _check_wall(url))
    finally:
        store.close()


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except StoreError as error:
        return Check(name=name, verdict=Verdict.FAIL, finding=str(error), advice=way_out(error))


def _check_library() -> Check:
    from holdfast.store.sqlite.library import has_wal_reset_bug

    version = sqlite3.sqlite_version
    if not has_wal_reset_bug(sqlite3.sqlite_version_info):
        return Check(name="sqlite", verdict=Verdict.OK, finding=f"library {version}, write-ahead log, synchronous=FULL")
    return Check(
        name="sqlite",
        verdict=Verdict.OK,
        finding=f"library {version}; its WAL-reset bug is kept out by a lock file; let only holdfast write here",
    )


def _check_schema(store: Store) -> Check:
    begin = time.monotonic()
    try:
        store.check_schema()
    except SchemaTooOld as error:
        found = "no tables" if error.found == "none" else f"tables at revision {error.found}"
        return Check(
            name="tables",
            verdict=Verdict.FAIL,
            finding=f"it answers, but has {found}; this version needs {HEAD}",
            advice="run `holdfast migrate`",
        )
    except SchemaTooNew as error:
        return Check(name="tables", verdict=Verdict.FAIL, finding=str(error), advice="upgrade holdfast")
    except StoreError as error:
        return Check(
            name="database",
            verdict=Verdict.FAIL,
            finding=str(error),
            advice="start it, or correct --database",
        )
    took = show_span((time.monotonic() - begin) * 1000)
    return Check(name="tables", verdict=Verdict.OK, finding=f"revision {HEAD}; it answered in {took}")


def _check_clock(store: Store) -> Check:
    before = time.time()
    theirs = store.read_clock()
    after = time.time()
    difference = theirs - (before + after) * 500
    slack = (after - before) * 500
    if abs(difference) <= CLOCK_MS_MAX + slack:
        near = show_span(abs(difference))
        return Check(
            name="clock", verdict=Verdict.OK, finding=f"the database's clock and this machine's differ by {near}"
        )
    word = "ahead of" if difference > 0 else "behind"
    return Check(
        name="clock",
        verdict=Verdict.WARN,
        finding=f"the database's clock is {show_span(abs(difference))} {word} this machine's",
        advice="set both by NTP; timers and leases go by the database's, so that nothing is lost meanwhile",
    )


def _check_workers(store: Store) -> Check:
    workers = store.list_workers()
    if not workers:
        return Check(
            name="workers",
            verdict=Verdict.WARN,
            finding="none is alive: no run moves",
            advice="start one with `holdfast worker MODULE:APP`",
        )
    queues = ", ".join(sorted({queue for worker in workers for queue in worker.queues}))
    versions = sorted({worker.version or "unknown" for worker in workers})
    finding = f"{len(workers)} alive, for queue(s) {queues}, of version {', '.join(versions)}"
    return Check(name="workers", verdict=Verdict.OK, finding=finding)


def _check_unknown(store: Store, tenant: Tenant) -> Check:
    workers = store.list_workers()
    lost: dict[tuple[str, str], int] = {}
    looked = 0
    for run in _idle_runs(store, tenant):
        looked += 1
        if not any(_knows(worker, run) for worker in workers):
            lost[run.workflow, run.queue] = lost.get((run.workflow, run.queue), 0) + 1
    among = f"the newest {looked}" if looked >= RUNS_MAX else f"{looked}"
    if not looked:
        return Check(name="unknown", verdict=Verdict.OK, finding="no run is in line or parked")
    if not lost:
        return Check(
            name="unknown", verdict=Verdict.OK, finding=f"some worker knows each of {among} run(s) in line or parked"
        )
    named = ", ".join(f"{number} of {name!r} on queue {queue!r}" for (name, queue), number in sorted(lost.items()))
    return Check(
        name="unknown",
        verdict=Verdict.WARN,
        finding=f"runs that no live worker knows, among {among} in line or parked: {named}",
        advice="start a worker with that code for that queue; nothing is lost meanwhile",
    )


def _idle_runs(store: Store, tenant: Tenant) -> Iterator[Run]:
    """Runs that nobody holds, newest first, up to RUNS_MAX."""
    where = RunFilter(statuses=frozenset({RunStatus.QUEUED, RunStatus.WAITING}))
    after: str | None = None
    for _ in range(RUNS_MAX // _PAGE):
        page = store.list_runs(tenant, where, limit=_PAGE, after=after)
        yield from page.runs
        after = page.next
        if after is None:
            return


def _knows(worker: WorkerRow, run: Run) -> bool:
    return run.code in worker.codes and run.queue in worker.queues


def _check_stuck(store: Store, tenant: Tenant) -> Check:
    number = count_runs(store, tenant, RunFilter(statuses=frozenset({RunStatus.STUCK}))).get(RunStatus.STUCK, 0)
    if not number:
        return Check(name="stuck", verdict=Verdict.OK, finding="no run is set aside")
    return Check(
        name="stuck",
        verdict=Verdict.WARN,
        finding=f"{number} run(s) are set aside: they took their worker down again and again",
        advice="`holdfast runs list --status stuck`, and look into the workers' logs",
    )


def _check_wall(url: str) -> Check:
    from holdfast.cli.wall import describe
    from holdfast.store.postgres.wall import inspect_wall

    report = inspect_wall(url)
    finding = describe(report)
    if not report.closed:
        advice = "`holdfast tenants wall on` lets PostgreSQL keep tenants apart, too" if report.announced else ""
        verdict = Verdict.WARN if report.announced else Verdict.OK
        return Check(name="wall", verdict=verdict, finding=finding, advice=advice)
    if report.open:
        return Check(name="wall", verdict=Verdict.FAIL, finding=finding, advice="run `holdfast tenants wall on` again")
    if report.bypass is not None:
        advice = "connect as a role that is a member of holdfast_worker or holdfast_client, and nothing more"
        return Check(name="wall", verdict=Verdict.WARN, finding=finding, advice=advice)
    return Check(name="wall", verdict=Verdict.OK, finding=finding)
