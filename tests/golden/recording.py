"""Recording runs. ``python -m tests.golden.recording`` writes the histories of this release beside this file."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import holdfast as hf
from holdfast.client.client import Client
from holdfast.core.history import History, encode_history, history_of
from holdfast.model.ids import RunId, UnixMs
from holdfast.model.run import RunDetail
from holdfast.model.status import TERMINAL_STATUSES, RunStatus
from holdfast.runtime.host import ProcessHost
from holdfast.runtime.worker import Worker
from holdfast.store.memory import MemoryStore
from holdfast.workflow.registry import Registry
from tests.golden.shapes import CASES, app

FOLDER: Final = Path(__file__).parent


async def record(
    app: Registry,
    workflow: str,
    *args: Any,
    signals: Sequence[tuple[str, Any]] = (),
    ends: bool = True,
    timeout_s: float = 20,
) -> list[History]:
    """The histories of one run: each time it was parked, and when it had ended unless it is to be left waiting."""
    store = MemoryStore(lambda: UnixMs(time.time_ns() // 1_000_000))
    settings = hf.WorkerSettings(poll=timedelta(milliseconds=20))
    histories: dict[tuple[int, int], History] = {}
    with closing(ProcessHost()) as host:
        async with Worker(app, store, host, settings=settings), asyncio.timeout(timeout_s):
            client = Client(store, host, registry=app)
            run = await client.start(workflow, *args)
            left = list(signals)
            while True:
                detail = store.read_detail(client.tenant, RunId(run.id))
                _keep(histories, detail)
                waits = detail.run.status is RunStatus.WAITING
                if detail.run.status in TERMINAL_STATUSES or (waits and not left and not ends):
                    return list(histories.values())
                if waits and left:
                    await run.signal(*left.pop(0))
                await asyncio.sleep(0.005)


def _keep(histories: dict[tuple[int, int], History], detail: RunDetail) -> None:
    if detail.run.status is RunStatus.WAITING or detail.run.status in TERMINAL_STATUSES:
        histories[(detail.run.epoch, len(detail.transitions))] = history_of(detail)


def write(path: Path) -> int:
    """Record every shape; returns how many histories were written."""
    lines = [
        # Tracebacks name files as they lie in the repository, not on somebody's machine.
        encode_history(history).replace(f"{FOLDER.parents[1]}/".encode(), b"") + b"\n"
        for case in CASES
        for history in asyncio.run(record(app, case.workflow, *case.args, signals=case.signals, ends=case.ends))
    ]
    path.write_bytes(b"".join(lines))
    return len(lines)


if __name__ == "__main__":
    target = FOLDER / f"{version('holdfast')}.jsonl"
    print(f"{write(target)} histories written to {target}")  # noqa: T201 - a tool for developers
