"""``holdfast worker`` and ``holdfast dev``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Coroutine
from datetime import timedelta
from importlib.metadata import version
from typing import Annotated, Any, Final, TypeVar

import structlog
import typer
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from holdfast.app import DEFAULT_DATABASE, App
from holdfast.cli import options
from holdfast.cli.database import choose_url, make_database, sqlite_file
from holdfast.cli.exits import Exit
from holdfast.cli.fleet import Fleet
from holdfast.cli.logs import LogFormat, LogFormatOption, LogLevel, LogLevelOption, configure_logs
from holdfast.cli.output import clean, open_console
from holdfast.cli.stopping import Stop
from holdfast.cli.tables import count_line, fact_table
from holdfast.cli.target import load_app
from holdfast.errors import StoreError, StoreUnavailable, UsageError
from holdfast.model.ids import DEFAULT_QUEUE, DEFAULT_TENANT
from holdfast.model.run import RunFilter
from holdfast.runtime.backoff import Backoff
from holdfast.runtime.host import ProcessHost, calm_garbage_collector, run_on_loop
from holdfast.runtime.settings import WorkerSettings
from holdfast.runtime.worker import Worker
from holdfast.store.port import Store, count_runs

PROGRESS_INTERVAL_S: Final = 1.0
"""How often ``dev`` counts the runs."""

T = TypeVar("T")

logger: structlog.stdlib.BoundLogger = structlog.get_logger("holdfast.cli")


def worker(
    target: options.Target,
    *,
    processes: Annotated[
        int, typer.Option("--processes", metavar="N", min=1, help="Worker processes to start and keep alive.")
    ] = 1,
    queue: options.Queues = None,
    concurrency: options.Concurrency = None,
    threads: options.Threads = None,
    lease: options.Lease = None,
    grace: options.Grace = None,
    log_format: LogFormatOption = LogFormat.AUTO,
    log_level: LogLevelOption = LogLevel.INFO,
    fleet_member: Annotated[int | None, typer.Option("--fleet-member", hidden=True)] = None,
    database: options.Database = None,
) -> None:
    """Execute runs of every tenant until SIGTERM or Ctrl-C, then drain; the second signal ends it at once.

    Draining: nothing more is claimed, running steps get --grace to finish, and all runs are handed back at once.
    Processes that die are replaced. Start as many workers, on as many machines, as you like.
    """
    configure_logs(log_format, log_level)
    settings = make_settings(queue, concurrency, threads, lease, grace)
    if processes > 1:
        load_app(target)
        arguments = [target, *_repeat(settings, log_format, log_level, database)]
        raise typer.Exit(_run_fleet(arguments, processes))
    stop = Stop()
    if fleet_member is not None:
        structlog.contextvars.bind_contextvars(number=fleet_member)
    app = load_app(target)
    has_parent = fleet_member is not None
    raise typer.Exit(run_on_loop(work(app, choose_url(database, app), settings, stop, with_parent=has_parent)))


def make_settings(
    queues: list[str] | None,
    concurrency: int | None,
    threads: int | None,
    lease: timedelta | None,
    grace: timedelta | None,
) -> WorkerSettings:
    """The settings, defaults for what was not given. Raises UsageError."""
    default = WorkerSettings()
    if lease is not None and lease < timedelta(seconds=1):
        raise UsageError("--lease must be at least 1s")
    return WorkerSettings(
        queues=tuple(dict.fromkeys(queues or default.queues)),
        concurrency=concurrency or default.concurrency,
        threads=threads or default.threads,
        lease=lease or default.lease,
        grace=default.grace if grace is None else grace,
    )


def _repeat(settings: WorkerSettings, log_format: LogFormat, log_level: LogLevel, database: str | None) -> list[str]:
    """The options for a process of the fleet."""
    arguments = [part for queue in settings.queues for part in ("--queue", queue)]
    arguments += ["--concurrency", str(settings.concurrency), "--threads", str(settings.threads)]
    arguments += ["--lease", f"{settings.lease.total_seconds():f}s", "--grace", f"{settings.grace.total_seconds():f}s"]
    arguments += ["--log-format", log_format.value, "--log-level", log_level.value]
    if database is not None:
        arguments += ["--database", database]
    return arguments


def _run_fleet(arguments: list[str], size: int) -> int:
    fleets: list[Fleet] = []

    def end_now() -> None:
        for fleet in fleets:
            fleet.send(signal.SIGKILL)
        os._exit(Exit.INTERRUPTED)

    fleets.append(Fleet(arguments, size=size, stop=Stop(at_once=end_now)))
    return asyncio.run(fleets[0].run())


def dev(
    target: options.Target,
    *,
    queue: Annotated[
        list[str] | None,
        typer.Option(
            "--queue",
            metavar="NAME",
            help="A queue to serve. Repeatable. Default: all that the App's workflows use.",
            show_default=False,
        ),
    ] = None,
    concurrency: options.Concurrency = None,
    threads: options.Threads = None,
    lease: options.Lease = None,
    grace: options.Grace = None,
    log_level: LogLevelOption = LogLevel.INFO,
    database: options.Database = None,
) -> None:
    """Everything in one process, for development: makes the tables, executes runs, shows what they do.

    Ctrl-C drains; runs that have not ended go on when it is started again.
    """
    stop = Stop()
    configure_logs(LogFormat.PRETTY, log_level)
    app = load_app(target)
    used = {app.find_workflow(name).options.queue for name in app.workflow_names}
    settings = make_settings(queue or sorted({DEFAULT_QUEUE, *used}), concurrency, threads, lease, grace)
    raise typer.Exit(run_on_loop(work(app, choose_url(database, app), settings, stop, in_dev=True)))


class StandaloneWorker(Worker):
    """A worker whose own end is the process's end: nobody else calls its ``stop`` than a loop of it that dies."""

    failed = False

    def __init__(self, app: App, store: Store, host: ProcessHost, *, settings: WorkerSettings, stop: Stop) -> None:
        super().__init__(app, store, host, settings=settings, version=version("holdfast"))
        self._process_stop = stop

    def stop(self) -> None:
        """Drain and end the process, to be replaced by whoever looks after it."""
        self.failed = True
        super().stop()
        self._process_stop.ask()


async def work(
    app: App,
    url: str,
    settings: WorkerSettings,
    stop: Stop,
    *,
    with_parent: bool = False,
    in_dev: bool = False,
) -> int:
    """Work until the stop, then drain; the exit code. Waits for a database that does not answer yet."""
    host = ProcessHost(threads=settings.threads)
    stopped = asyncio.create_task(stop.wait())
    if with_parent:
        _stop_with_parent(stop)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, host.close)
        store = await _unless_stopped(_open_store(url, host), stopped)
        if store is None:
            return Exit.OK
        stack.push_async_callback(asyncio.to_thread, store.close)
        calm_garbage_collector()
        worker = StandaloneWorker(app, store, host, settings=settings, stop=stop)
        if in_dev:
            open_console().print(_welcome(app, store, url, settings))
        if await _unless_stopped(_started(worker), stopped) is None:
            return Exit.OK
        try:
            if in_dev:
                await _unless_stopped(_show_progress(store, host, worker), stopped)
            await stopped
        finally:
            await worker.drain()
        return Exit.FAULT if worker.failed else Exit.OK


async def _started(worker: Worker) -> Worker:
    await worker.start()
    return worker


async def _unless_stopped(doing: Coroutine[Any, Any, T], stopped: asyncio.Task[None]) -> T | None:
    """What it returns, or None if the stop came first; then it is cancelled."""
    task = asyncio.create_task(doing)
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
    return None if task.cancelled() else task.result()


async def _open_store(url: str, host: ProcessHost) -> Store:
    """The store with its tables, as soon as the database answers."""
    backoff = Backoff(host.random)
    while True:
        try:
            return await asyncio.to_thread(make_database, url)
        except StoreUnavailable as error:
            logger.warning("the database does not answer; trying again", why=str(error))
            await asyncio.sleep(backoff.next_s())


def _stop_with_parent(stop: Stop) -> None:
    """Drain when the fleet's parent is gone: then the pipe that is this process's standard input ends."""

    def read() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            stop.ask()

    loop = asyncio.get_running_loop()
    loop.add_reader(0, read)


# What dev shows


def _welcome(app: App, store: Store, url: str, settings: WorkerSettings) -> Panel:
    file = sqlite_file(url)
    option = "" if url == DEFAULT_DATABASE else f" --database {url if file is not None else 'URL'}"
    names = app.workflow_names
    facts = fact_table(
        {
            "database": clean(store.url),
            "workflows": clean(", ".join(names)) or Text("none yet", "yellow"),
            "queues": clean(", ".join(settings.queues)),
            "start a run": clean(f"holdfast start {names[0]} [ARG]...{option}") if names else None,
            "look": clean(f"holdfast runs list{option}"),
            "end": "Ctrl-C; what has not ended goes on next time",
        }
    )
    return Panel(facts, title=f"holdfast dev: {clean(app.name)}", title_align="left", expand=False)


async def _show_progress(store: Store, host: ProcessHost, worker: Worker) -> None:
    """Runs by status: a line that is kept up to date on a terminal, and a log line at each change elsewhere."""
    console = open_console(stderr=True)
    shown = ""
    with (
        Live(console=console, auto_refresh=False, transient=True)
        if console.is_terminal
        else contextlib.nullcontext() as live
    ):
        while True:
            line = await _count(store, host)
            line.append(f"  (this worker holds {worker.held_runs})", "dim")
            if live is not None:
                live.update(line, refresh=True)
            elif line.plain != shown:
                shown = line.plain
                logger.info(shown)
            await asyncio.sleep(PROGRESS_INTERVAL_S)


async def _count(store: Store, host: ProcessHost) -> Text:
    try:
        return count_line(await host.call("client", count_runs, store, DEFAULT_TENANT, RunFilter()))
    except StoreError as error:
        return Text(clean(str(error)), "red")
