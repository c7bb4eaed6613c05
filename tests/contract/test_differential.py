"""Every store answers as the reference does, operation by operation, and holds the same afterwards."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import msgspec
import pytest

from holdfast.model.closing import EVERY, Closing
from holdfast.model.ids import DEFAULT_TENANT, RunId
from holdfast.model.run import Run, RunDetail
from holdfast.store import paging
from holdfast.store.outbox import Outbox
from tests.contract.conftest import Opener
from tests.contract.operations import Script, lines, snapshot
from tests.contract.scene import check_history
from tests.contract.steps import perform
from tests.contract.stores import KINDS, ManualClock, OpenStore

SEEDS = int(os.environ.get("HOLDFAST_DIFFERENTIAL_SEEDS", "20"))
OPERATIONS = 60
FULL_EVERY = 20
EVERYONE, READER = "@all", "audit"


class Sequence:
    """One seeded sequence, applied to the reference and, step by step, to another store."""

    def __init__(self, seed: int, model: OpenStore) -> None:
        self.seed = seed
        self.model = model
        self.worked: Counter[str] = Counter()
        self._script = Script(seed, model)
        self._before: dict[RunId, tuple[Any, ...]] = {}

    def run(self, other: OpenStore | None) -> None:
        """All steps of the sequence."""
        for opened in (self.model, other):
            if opened is not None:
                Outbox(opened.store).subscribe(None, EVERYONE, [EVERY])
                Outbox(opened.store).subscribe(DEFAULT_TENANT, READER, ["order"])
        for number in range(OPERATIONS):
            step = self._script.next()
            expected = perform(step, self.model)
            where = f"seed {self.seed}, operation {number}: {step.kinds}"
            if step.worked(expected):
                self.worked.update(step.kinds)
            if other is not None:
                _same(where, expected, perform(step, other))
                self._compare(where, other, full=number % FULL_EVERY == 0)
        for run in lines(self.model):
            check_history(self.model.store.read_detail(run.tenant, run.id))
        if other is not None:
            self._compare(f"seed {self.seed}, at the end", other, full=True)
            _same(f"seed {self.seed}, what is told of ends", _told(self.model), _told(other))

    def _compare(self, where: str, other: OpenStore, *, full: bool) -> None:
        """Every row and the order of the listing; all that belongs to the runs that the step touched, or to all."""
        rows = lines(self.model)
        _same(where, rows, lines(other))
        touched = rows if full else self._touched(rows)
        walled = other.owner is not None
        _same(where, _details(self.model, touched, walled=walled), _details(other, touched, walled=walled))

    def _touched(self, rows: list[Run]) -> list[Run]:
        now = {detail.run.id: _content(detail) for detail in snapshot(self.model.store, rows)}
        touched = [run for run in rows if self._before.get(run.id) != now[run.id]]
        self._before = now
        return touched


def _told(opened: OpenStore) -> list[Closing]:
    """Every end that somebody was told of, for each who was."""
    outbox = Outbox(opened.store)
    everything = outbox.claim(None, [EVERYONE], limit=10_000, lease_ms=1)
    return [*everything, *outbox.claim(DEFAULT_TENANT, [READER], limit=10_000, lease_ms=1)]


def _details(opened: OpenStore, runs: list[Run], *, walled: bool) -> list[RunDetail]:
    details = snapshot(opened.store, runs)
    # Behind the wall nobody counts the runs of others that are before one's own.
    return [msgspec.structs.replace(detail, ahead=0) for detail in details] if walled else details


def _content(detail: RunDetail) -> tuple[Any, ...]:
    return detail.run, detail.journal, detail.waits, detail.attempts, detail.transitions


def _same(where: str, expected: Any, actual: Any) -> None:
    if expected != actual:
        want, got = (
            msgspec.json.format(msgspec.json.encode(_plain(one)), indent=1).decode() for one in (expected, actual)
        )
        different = [f"- {a}\n+ {b}" for a, b in zip(want.splitlines(), got.splitlines(), strict=False) if a != b]
        pytest.fail(f"{where}\n" + "\n".join(different[:40]) + f"\nexpected {expected}\nactual   {actual}")


def _plain(answer: Any) -> Any:
    return msgspec.to_builtins(answer, builtin_types=(bytes,), order="sorted", enc_hook=repr)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "memory"])
@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.requirement("B-01", "B-54", "promise-4", "promise-5", "promise-7", "promise-10")
def test_every_store_answers_as_the_reference_does(
    open_store: Opener, kind: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed % 2:
        # Few runs are many then, so that pages are read window by window.
        monkeypatch.setattr(paging, "WINDOW", 3)
        monkeypatch.setattr(paging, "GATHERED", 1)
    clock = ManualClock()
    with open_store("memory", clock) as model, open_store(kind, clock) as other:
        Sequence(seed, model).run(other)


@pytest.mark.parametrize("seed", range(SEEDS // 10))
@pytest.mark.requirement("promise-10")
def test_the_store_answers_so_behind_the_wall_too(open_store: Opener, seed: int) -> None:
    clock = ManualClock()
    with open_store("memory", clock) as model, open_store("walled", clock) as other:
        Sequence(seed, model).run(other)


def test_the_sequences_make_every_operation_work_at_least_once(open_store: Opener) -> None:
    worked: Counter[str] = Counter()

    for seed in range(max(SEEDS, 60)):
        with open_store("memory", ManualClock()) as model:
            sequence = Sequence(seed, model)
            sequence.run(None)
            worked += sequence.worked

    assert EXPECTED - set(worked) == set()


EXPECTED = {
    *("advance", "start", "start again", "start in a transaction", "start rolled back"),
    *("register", "heartbeat", "retire", "claim", "batch", "refused", "broken"),
    *("commit with: accepted", "commit with: refused", "commit with: raised"),
    *("entry", "attempt", "child", "elapsed", "cancelled wait"),
    *("wait: timer", "wait: signal", "wait: child", "wait: retry"),
    *("running: NoneType", "running: Park", "running: Release", "running: Compensate"),
    *("running: Finish completed", "running: Finish failed", "running: Finish cancelled", "running: Finish stuck"),
    *("compensating: NoneType", "compensating: Park", "compensating: Release"),
    *("compensating: Finish failed", "compensating: Finish cancelled", "compensating: Finish stuck"),
    *("wake due", "requeue lost", "set aside", "release unknown", "signal", "broadcast", "signal again", "cancel"),
    *("answer", "list approvals", "sweep signals", "send", "wait: approval"),
    "command move",
    *("read progress", "read live", "read agenda", "read runs", "list runs"),
}
