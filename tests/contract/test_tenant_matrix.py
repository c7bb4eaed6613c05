"""Nothing crosses tenants at the port: what is asked with another tenant's id is answered as what nobody has.

The matrix is made of every method of the port; a new one fails here until it is said how it is called.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select

from holdfast.errors import HoldfastError
from holdfast.model.command import Cancel, Order, RunCopy
from holdfast.model.commit import NewWait
from holdfast.model.event import EventFilter
from holdfast.model.ids import Json, RunId
from holdfast.model.run import Answer, RunFilter, Signal
from holdfast.model.search import GroupBy
from holdfast.model.status import EntryKind, WaitKind
from holdfast.store.port import Hint, Store
from holdfast.store.postgres import session
from holdfast.store.postgres.notify import Notice, encode_notice
from holdfast.store.sqlite import statements
from holdfast.store.tables import DEFINITIONS
from tests.contract.conftest import Opener
from tests.contract.dump import dump
from tests.contract.scene import (
    INPUT,
    OTHER_TENANT,
    RESULT,
    Scene,
    attempt,
    entry,
    message,
    new_run,
    run_id,
    signal_wait,
)
from tests.contract.stores import KINDS, ManualClock, OpenStore

MINE = new_run(0).tenant
FOREIGN, ABSENT = run_id(11), run_id(99)

QUESTION = Json(b'{"prompt":"Pay?","by":["ann"]}')

Call = Callable[[OpenStore, RunId], Any]


def _send_in(opened: OpenStore, asked: RunId) -> None:
    with opened.transaction() as connection:
        signal = Signal(id=run_id(70), tenant=MINE, name="s", payload=INPUT, run_id=asked)
        opened.store.send_signal_in(connection, signal)


CALLS: dict[str, Call] = {
    "get_run": lambda o, i: o.store.get_run(MINE, i),
    "get_runs": lambda o, i: o.store.get_runs(MINE, [i]),
    "list_runs": lambda o, i: o.store.list_runs(MINE, RunFilter(parent_id=i), limit=9, after=None),
    "group_runs": lambda o, i: o.store.group_runs(MINE, RunFilter(root_id=i), GroupBy.STATUS, limit=9),
    "read_detail": lambda o, i: o.store.read_detail(MINE, i),
    "read_outputs": lambda o, i: o.store.read_outputs(MINE, i, EntryKind.STEP, "a", after=None, limit=9),
    "read_events": lambda o, i: o.store.read_events(MINE, EventFilter(run_id=i), after=None, limit=9),
    "send_signal": lambda o, i: o.store.send_signal(
        Signal(id=run_id(70), tenant=MINE, name="s", payload=INPUT, run_id=i)
    ),
    "send_signal: an answer": lambda o, i: o.store.send_signal(
        Answer(id=run_id(70), tenant=MINE, run_id=i, key="ask", names=["ann"], verdict=RESULT)
    ),
    "send_signal_in": _send_in,
    "command": lambda o, i: o.store.command(MINE, i, Order(id=run_id(71), command=Cancel(), actor="ann")),
    "start_copy": lambda o, i: o.store.start_copy(
        MINE, RunCopy(id=run_id(72), source_id=i, retry=False, journal=["a"], waits=[])
    ),
}
"""By method: a call in a tenant's name with a run's id."""

UNNAMED: dict[str, Call] = {
    "list_runs": lambda o, _: o.store.list_runs(MINE, RunFilter(), limit=9, after=None).runs,
    "group_runs": lambda o, _: o.store.group_runs(MINE, RunFilter(), GroupBy.WORKFLOW, limit=9),
    "list_approvals": lambda o, _: o.store.list_approvals(MINE, names=[], limit=9, after=None).approvals,
    "read_events": lambda o, _: o.store.read_events(MINE, EventFilter(), after=None, limit=9).events,
    "send_signal": lambda o, _: o.store.send_signal(Signal(id=run_id(70), tenant=MINE, name="w", payload=INPUT)),
    "transact": lambda o, _: o.store.transact(
        MINE, lambda s: s.rows(select(DEFINITIONS.c.workflow).where(DEFINITIONS.c.tenant == MINE)), read_only=True
    ),
}
"""Calls in a tenant's name that reach all that it has: here there is nothing."""

OTHERS: dict[str, str] = {
    "start_runs": "each run says whose it is; ids are made by clients, at random or from tenant, workflow and key",
    "start_runs_in": "as start_runs",
    "prune": "an operator's; of one tenant or of all",
    **dict.fromkeys(("url", "hints", "check_schema", "read_clock", "close"), "nothing of a tenant's"),
    **dict.fromkeys(
        ("register_worker", "heartbeat", "retire_worker", "claim_runs", "release_unknown", "list_workers"),
        "workers serve all tenants",
    ),
    **dict.fromkeys(("commit", "commit_with", "read_progress", "read_live"), "what a worker holds, by its lease"),
    **dict.fromkeys(("read_agenda", "wake_due", "sweep_signals", "requeue_lost"), "housekeeping, for all tenants"),
}
"""By method: why it is not asked in one tenant's name."""


@pytest.fixture(params=[*KINDS, "walled"])
def foreign(request: pytest.FixtureRequest, open_store: Opener) -> Generator[OpenStore, None, None]:
    """A store in which another tenant alone has a run with a row in each table, and none of it is ours."""
    with open_store(str(request.param), ManualClock()) as opened:
        scene = Scene(opened)
        run = scene.held(11, tenant=OTHER_TENANT, attributes={"x": 1})
        waits = [signal_wait("w", 2), NewWait(key="ask", seq=3, kind=WaitKind.APPROVAL, request=QUESTION)]
        scene.accept(run, entries=[entry(run, "a", 1)], attempts=[attempt("b", 1)], waits=waits)
        scene.store.send_signal(message(5, run.id, tenant=OTHER_TENANT, name="later"))
        scene.store.send_signal(message(6, None, tenant=OTHER_TENANT, name="later"))
        yield opened


def _outcome(call: Call, opened: OpenStore, asked: RunId) -> Any:
    """What a call answers, with the id that was asked for taken out."""
    try:
        return repr(call(opened, asked)).replace(asked, "ID")
    except HoldfastError as error:
        return type(error), str(error).replace(asked, "ID"), str(error.facts).replace(asked, "ID")


@pytest.mark.requirement("promise-10", "C-56")
def test_the_matrix_knows_every_method_of_the_port() -> None:
    public = {name for name, _ in inspect.getmembers(Store) if not name.startswith("_")}
    known = {name.partition(":")[0] for name in (*CALLS, *UNNAMED, *OTHERS)}

    assert public == known, "say how it is called in a tenant's name, or why it is not"
    for name, method in inspect.getmembers(Store, inspect.isfunction):
        if "tenant" in inspect.signature(method).parameters:
            assert name in {*CALLS, *UNNAMED}


@pytest.mark.requirement("promise-10", "C-11", "C-12", "C-56")
@pytest.mark.parametrize("name", CALLS)
def test_another_tenants_id_is_answered_as_one_that_nobody_has(
    foreign: OpenStore, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    executed: list[str] = []

    def recorded(real: Callable[[str], str]) -> Callable[[str], str]:
        def text_of(name: str) -> str:
            executed.append(name)
            return real(name)

        return text_of

    for module, function in ((session, "statement"), (session, "literal"), (statements, "sql")):
        monkeypatch.setattr(module, function, recorded(getattr(module, function)))
    before = dump(foreign)

    theirs = _outcome(CALLS[name], foreign, FOREIGN)
    steps, executed[:] = list(executed), []
    nobodys = _outcome(CALLS[name], foreign, ABSENT)

    assert theirs == nobodys
    assert executed == steps, "it would take another time"
    assert dump(foreign) == before


@pytest.mark.requirement("promise-10", "C-13", "C-56")
@pytest.mark.parametrize("name", UNNAMED)
def test_what_reaches_all_that_a_tenant_has_reaches_no_others(foreign: OpenStore, name: str) -> None:
    before = dump(foreign)

    answer = UNNAMED[name](foreign, ABSENT)

    assert not answer
    if name != "send_signal":  # which is recorded, as one that reached nobody
        assert dump(foreign) == before


@pytest.mark.requirement("promise-10")
def test_a_statement_that_forgets_its_tenant_is_stopped_by_the_wall(open_store: Opener) -> None:
    with open_store("walled", ManualClock()) as opened:
        Scene(opened).start(1, tenant=OTHER_TENANT)

        assert opened.store.transact(MINE, _count_all) == 0
        assert opened.store.transact(None, _count_all) == 1


def _count_all(statements_: Any) -> int:
    from holdfast.store.tables import RUNS

    return int(statements_.rows(select(func.count()).select_from(RUNS))[0][0])


@pytest.mark.requirement("promise-10")
def test_a_hint_names_runs_by_their_ids_and_nothing_else(open_store: Opener) -> None:
    heard: list[Hint] = []
    with open_store("memory", ManualClock()) as opened:
        opened.store.hints.subscribe(heard.append)
        scene = Scene(opened)
        run = scene.held(1, tenant=OTHER_TENANT, workflow="ship", attributes={"secret": "word"}, key="key")
        scene.store.send_signal(message(1, None, tenant=OTHER_TENANT))
        scene.cancel(run.id, tenant=OTHER_TENANT)

    said = [encode_notice("sender", hint) for hint in heard]

    assert set(Notice.__struct_fields__) == {"sender", *Hint.__struct_fields__}
    for notice in said:
        facts = msgspec.json.decode(notice, type=dict[str, str | bool | list[str] | None])
        ids = [one for value in facts.values() if isinstance(value, list) for one in value]
        assert set(ids) <= {run.id}
        assert {value for value in facts.values() if isinstance(value, str)} <= {"sender"}
    assert heard


@pytest.mark.requirement("promise-10")
def test_signals_of_two_tenants_with_one_id_are_two_signals(foreign: OpenStore) -> None:
    scene = Scene(foreign)
    run = scene.parked(1, signal_wait("w", 1))

    delivered = foreign.store.send_signal(message(5, run.id))

    assert delivered == [run.id]
