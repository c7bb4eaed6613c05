"""The whole engine in one process, over each store: a client, and workers that a test starts."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

import holdfast as hf
from holdfast.client.client import Client
from holdfast.model.ids import RunId, UnixMs
from holdfast.model.run import RunDetail
from holdfast.runtime.host import ProcessHost
from holdfast.runtime.worker import Worker
from holdfast.store.port import Store
from tests.contract.conftest import open_store, sqlite_template
from tests.contract.stores import KINDS, ManualClock, OpenStore

__all__ = ["open_store", "sqlite_template"]

QUICK = hf.Retry(max_attempts=3, initial=timedelta(milliseconds=1))
"""A policy for tests that retry."""

LONG_S = 0.4
"""Longer than a run lingers in memory: a sleep of this length parks it, and what follows is a replay."""


class RealClock(ManualClock):
    """The machine's clock."""

    def __call__(self) -> UnixMs:
        return UnixMs(time.time_ns() // 1_000_000)


@dataclass
class Engine:
    """A program with a database: ``app`` to write workflows on, ``worker()`` to execute them, ``client`` to ask."""

    opened: OpenStore
    app: hf.App = field(default_factory=lambda: hf.App("tests"))
    host: ProcessHost = field(default_factory=ProcessHost)

    @property
    def store(self) -> Store:
        """The database."""
        return self.opened.store

    @property
    def client(self) -> Client:
        """A client that knows the App."""
        return Client(self.store, self.host, registry=self.app)

    @asynccontextmanager
    async def worker(self, app: hf.App | None = None, **settings: object) -> AsyncGenerator[Worker, None]:
        """A worker with a short poll; it drains at the end."""
        options: dict[str, object] = {"poll": timedelta(milliseconds=50), "grace": timedelta(seconds=5), **settings}
        async with Worker(
            app or self.app,
            self.store,
            self.host,
            settings=hf.WorkerSettings(**options),  # type: ignore[arg-type]  # a test's own settings
        ) as worker:
            yield worker

    def detail(self, run: RunId | str) -> RunDetail:
        """The run's whole record."""
        return self.store.read_detail(self.client.tenant, RunId(run))


Opener = Callable[[str, ManualClock], AbstractContextManager[OpenStore]]


@pytest.fixture
def anyio_backend() -> str:
    """The engine runs on asyncio."""
    return "asyncio"


@pytest.fixture(params=KINDS)
def engine(request: pytest.FixtureRequest, open_store: Opener) -> Generator[Engine, None, None]:
    """An engine on each store in turn."""
    with open_store(str(request.param), RealClock()) as opened:
        engine = Engine(opened)
        yield engine
        engine.host.close()
