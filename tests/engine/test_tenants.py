"""Nothing crosses tenants: whatever is asked with another tenant's id is answered as for an id that nobody has.

The matrix is made of every public method of the client; a new one fails here until it is said how it is called.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from anyio import to_thread

from holdfast.client.bulk import Bulk
from holdfast.client.client import Client, Start
from holdfast.client.closings import Closings
from holdfast.client.definitions import Definitions
from holdfast.client.pauses import Pauses
from holdfast.client.queues import Queues
from holdfast.client.schedules import Schedules
from holdfast.client.sync import SyncClient
from holdfast.client.sync_bulk import SyncBulk
from holdfast.client.sync_closings import SyncClosings
from holdfast.client.sync_definitions import SyncDefinitions
from holdfast.client.sync_pauses import SyncPauses
from holdfast.client.sync_queues import SyncQueues
from holdfast.client.sync_schedules import SyncSchedules
from holdfast.errors import HoldfastError
from holdfast.model.command import Pause
from holdfast.model.commit import NewWait, Park, RunCommit
from holdfast.model.definition import Definition, StepNode
from holdfast.model.ids import Tenant
from holdfast.model.run import NewRun, WorkerInfo
from holdfast.model.status import WaitKind
from holdfast.store.catalog import Catalog
from holdfast.store.outbox import Outbox
from tests.contract.dump import dump
from tests.contract.scene import ALICE, INPUT, run_id
from tests.contract.stores import KINDS
from tests.engine.conftest import Engine, Opener, RealClock

pytestmark = pytest.mark.anyio

Call = Callable[[Any, str], Any]

MINE, THEIRS = Tenant("mine"), Tenant("theirs")
FOREIGN, ABSENT = run_id(0xABC), run_id(0xDEF)
PAST = datetime(2026, 1, 1, 3, tzinfo=UTC)
NODE = {"key": "later", "kind": "step", "handler": "later"}

CALLS: dict[str, Call] = {
    "get": lambda c, i: c.get(i),
    "detail": lambda c, i: c.detail(i),
    "explain": lambda c, i: c.explain(i),
    "lineage": lambda c, i: c.lineage(i),
    "cancel": lambda c, i: c.cancel(i),
    "signal": lambda c, i: c.signal("approved", run_id=i),
    "approve": lambda c, i: c.approve(i, "a", by="ann"),
    "reject": lambda c, i: c.reject(i, "a", by="ann"),
    "terminate": lambda c, i: c.terminate(i),
    "pause": lambda c, i: c.pause(i),
    "resume": lambda c, i: c.resume(i),
    "release": lambda c, i: c.release(i),
    "close_stuck": lambda c, i: c.close_stuck(i),
    "settle": lambda c, i: c.settle(i, "s", result=1),
    "change": lambda c, i: c.change(i, priority=5),
    "command": lambda c, i: c.command(i, Pause()),
    "retry": lambda c, i: c.retry(i),
    "fork": lambda c, i: c.fork(i),
    "append": lambda c, i: c.append(i, NODE),
    "dag": lambda c, i: c.dag(i),
    "move": lambda c, i: c.move(i, 2),
    "plan_move": lambda c, i: c.plan_move(i, 2),
    "events": lambda c, i: c.events(i),
    "wait_for_end": lambda c, i: c.wait_for_end(i, timeout=0.01),
    "wait_for_result": lambda c, i: c.wait_for_result(i, timeout=0.01),
    "handle": lambda c, i: c.handle(i).get(),
    "read": lambda c, i: c.read(i, "progress"),
    "query": lambda c, i: c.query(i, "progress"),
    "update": lambda c, i: c.update(i, "change", 1, timeout=0.01),
    "stream": lambda c, i: c.stream(i, "log"),
    "list": lambda c, i: c.list(f"parent:{i}"),
    "count": lambda c, i: c.count(root_id=i),
    "group": lambda c, i: c.group("workflow", f"waiting:child:{i}"),
}
"""By method: a call with a run's id."""

UNNAMED: dict[str, Call] = {
    "list": lambda c, _: c.list(),
    "count": lambda c, _: c.count(),
    "group": lambda c, _: c.group("status"),
    "signal": lambda c, _: c.signal("approved"),
    "approvals": lambda c, _: c.approvals(),
    "events": lambda c, _: c.events(),
    "definitions.workflows": lambda c, _: c.definitions.workflows(),
    "definitions.list": lambda c, _: c.definitions.list("drawn"),
    "definitions.history": lambda c, _: c.definitions.history("drawn"),
    "definitions.release": lambda c, _: c.definitions.release("drawn"),
    "bulk.list": lambda c, _: c.bulk.list(),
    "bulk.count": lambda c, _: c.bulk.count(),
    "pauses.list": lambda c, _: c.pauses.list(),
    "pauses.resume": lambda c, _: c.pauses.resume(queue="default"),
    "queues.list": lambda c, _: c.queues.list(),
    "queues.limit": lambda c, _: c.queues.limit("default", running=None),
    "schedules.list": lambda c, _: c.schedules.list(),
    "closings.list": lambda c, _: c.closings.list(),
    "closings.claim": lambda c, _: c.closings.claim("ends"),
    "closings.unsubscribe": lambda c, _: c.closings.unsubscribe("ends"),
}
"""Calls that reach all that a tenant has: here there is nothing."""

WORKFLOW: dict[str, Call] = {
    "definitions.get": lambda c, name: c.definitions.get(name, 1),
    "definitions.newest": lambda c, name: c.definitions.newest(name),
    "definitions.diff": lambda c, name: c.definitions.diff(name, 1, 1),
    "definitions.export": lambda c, name: c.definitions.export(name, 1),
    "definitions.promote": lambda c, name: c.definitions.promote(name, 1),
    "definitions.restore": lambda c, name: c.definitions.restore(name, number=1),
}
"""Calls with a workflow's name."""

JOB: dict[str, Call] = {
    "bulk.get": lambda c, i: c.bulk.get(i),
    "bulk.errors": lambda c, i: c.bulk.errors(i),
    "bulk.stop": lambda c, i: c.bulk.stop(i),
    "bulk.wait": lambda c, i: c.bulk.wait(i, timeout=30),
    "bulk.work": lambda c, i: c.bulk.work(i),
}
"""Calls with a bulk job's id."""

SCHEDULE: dict[str, Call] = {
    "schedules.get": lambda c, name: c.schedules.get(name),
    "schedules.ticks": lambda c, name: c.schedules.ticks(name),
    "schedules.next": lambda c, name: c.schedules.next(name),
    "schedules.pause": lambda c, name: c.schedules.pause(name),
    "schedules.resume": lambda c, name: c.schedules.resume(name),
    "schedules.delete": lambda c, name: c.schedules.delete(name),
    "schedules.trigger": lambda c, name: c.schedules.trigger(name),
    "schedules.backfill": lambda c, name: c.schedules.backfill(name, PAST, PAST),
}
"""Calls with a schedule's name."""

OWN: dict[str, str] = {
    "bulk.start": "a job is for the runs of the client's tenant: see test_bulk.py",
    "bulk.signal": "as bulk.start",
    "start": "what is started has the client's tenant: see below",
    "start_in": "as start",
    "start_many": "as start",
    "signal_in": "as signal: see test_guests.py",
    "close": "closes the client",
    "workers": "workers serve all tenants",
    "result_from": "reads a run that the caller has",
    "definitions.put": "what is put has the client's tenant",
    "definitions.import_text": "as put",
    "queues.get": "as queues.list",
    "schedules.put": "what is put has the client's tenant: see test_schedules.py",
    "schedules.create": "as put",
    "schedules.run_of": "derives an id from a row that the caller has",
    "pauses.pause": "what is paused is the client's tenant's",
    "closings.subscribe": "hears of the client's tenant: see test_closings.py",
    "closings.follow": "as claim, again and again",
    "closings.acknowledge": "takes what claim gave: see test_closings.py",
}
"""By method: why it needs no row above."""


@pytest.fixture(params=[*KINDS, "walled"])
def foreign(request: pytest.FixtureRequest, open_store: Opener) -> Generator[Engine, None, None]:
    """A store in which another tenant has a run that waits for a signal and a child, a graph and a subscription."""
    with open_store(str(request.param), RealClock()) as opened:
        engine = Engine(opened)
        _fill(engine)
        yield engine
        engine.host.close()


def _fill(engine: Engine) -> None:
    store = engine.store
    new = NewRun(id=FOREIGN, tenant=THEIRS, workflow="order", input=INPUT, key="k", attributes={"x": 1})
    child = NewRun(id=run_id(0xABD), tenant=THEIRS, workflow="ship", input=INPUT, parent_id=FOREIGN, parent_key="c")
    store.start_runs([new])
    store.register_worker(WorkerInfo(id=ALICE, queues=["default"], codes=["order"]), lease_ms=10_000)
    [run] = store.claim_runs(ALICE, queues=["default"], codes=["order"], limit=10, suspects=1).runs
    waits = [
        NewWait(key="s", seq=1, kind=WaitKind.SIGNAL, signal="approved"),
        NewWait(key="c", seq=2, kind=WaitKind.CHILD, child_id=child.id),
    ]
    store.commit([RunCommit(run.id, run.epoch, waits=waits, children=[child], move=Park(2))])
    drawn = Definition(workflow="drawn", nodes=(StepNode(key="a", handler="a"),))
    Catalog(store).put(THEIRS, drawn)
    Catalog(store).promote(THEIRS, "drawn", 1)
    Outbox(store).subscribe(THEIRS, "ends", ["order"])
    owner = SyncClient(Client(store, engine.host, tenant=THEIRS))
    owner.bulk.start("cancel", all_runs=True)
    owner.schedules.put("nightly", "0 3 * * *", "order")
    owner.close()


def _job_of(foreign: Engine) -> str:
    owner = SyncClient(Client(foreign.store, foreign.host, tenant=THEIRS))
    [job] = owner.bulk.list()
    owner.close()
    return job.id


async def _outcome(call: Call, client: Client | SyncClient, asked: str) -> Any:
    """What a call answers, with the id that was asked for taken out."""

    def plainly() -> Any:
        answer: Any = call(client, asked)
        return list(answer) if hasattr(answer, "__next__") else answer

    try:
        if isinstance(client, SyncClient):
            return await to_thread.run_sync(plainly)
        answer = call(client, asked)
        return [one async for one in answer] if inspect.isasyncgen(answer) else await answer
    except HoldfastError as error:
        facts = {name: value for name, value in error.facts.items() if name != "failure"}
        return type(error), str(error).replace(asked, "ID"), str(facts).replace(asked, "ID")


def _methods(kind: type[Any], prefix: str = "") -> set[str]:
    members = inspect.getmembers(kind, inspect.isfunction)
    return {prefix + name for name, _ in members if not name.startswith("_")}


@pytest.mark.requirement("promise-10", "C-11", "C-56")
@pytest.mark.parametrize(
    "parts",
    [
        {
            "": Client,
            "definitions.": Definitions,
            "closings.": Closings,
            "pauses.": Pauses,
            "queues.": Queues,
            "bulk.": Bulk,
            "schedules.": Schedules,
        },
        {
            "": SyncClient,
            "definitions.": SyncDefinitions,
            "closings.": SyncClosings,
            "pauses.": SyncPauses,
            "queues.": SyncQueues,
            "bulk.": SyncBulk,
            "schedules.": SyncSchedules,
        },
    ],
)
def test_the_matrix_knows_every_public_method_of_the_clients(parts: dict[str, type[Any]]) -> None:
    public = set[str]().union(*(_methods(kind, prefix) for prefix, kind in parts.items()))

    assert public <= {*CALLS, *UNNAMED, *WORKFLOW, *JOB, *SCHEDULE, *OWN}, (
        "say how it is called with another tenant's id"
    )
    for name, member in inspect.getmembers(parts[""], inspect.isfunction):
        if "run_id" in inspect.signature(member).parameters and not name.startswith("_"):
            assert name in CALLS


async def test_the_matrix_knows_every_part_of_the_clients(foreign: Engine) -> None:
    async with _clients(foreign) as clients:
        for client in clients:
            parts = {name for name, held in vars(client).items() if type(held).__module__.startswith("holdfast.client")}

            public = {name for name in parts if not name.startswith("_")}
            assert public == {"definitions", "closings", "pauses", "queues", "breakers", "bulk", "schedules"}


@asynccontextmanager
async def _clients(foreign: Engine) -> AsyncGenerator[list[Client | SyncClient], None]:
    client = Client(foreign.store, foreign.host, tenant=MINE, registry=foreign.app)
    plain = await to_thread.run_sync(
        lambda: SyncClient(Client(foreign.store, foreign.host, tenant=MINE, registry=foreign.app))
    )
    yield [client, plain]
    await client.close()
    await to_thread.run_sync(plain.close)


def _has(client: Client | SyncClient, name: str) -> bool:
    found: Any = client
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is not None


@pytest.mark.requirement("promise-10", "C-11", "C-12", "C-56")
@pytest.mark.parametrize("name", [*CALLS, *WORKFLOW, *JOB, *SCHEDULE])
async def test_what_is_another_tenants_is_answered_as_what_nobody_has(foreign: Engine, name: str) -> None:
    if name in CALLS:
        call, theirs, nobodys = CALLS[name], str(FOREIGN), str(ABSENT)
    elif name in WORKFLOW:
        call, theirs, nobodys = WORKFLOW[name], "drawn", "never"
    elif name in SCHEDULE:
        call, theirs, nobodys = SCHEDULE[name], "nightly", "never"
    else:
        call, theirs, nobodys = JOB[name], await to_thread.run_sync(_job_of, foreign), str(ABSENT)
    before = dump(foreign.opened)

    async with _clients(foreign) as clients:
        for client in clients:
            if _has(client, name):
                assert await _outcome(call, client, theirs) == await _outcome(call, client, nobodys)

    assert dump(foreign.opened) == before


@pytest.mark.requirement("promise-10", "C-13", "C-56")
@pytest.mark.parametrize("name", UNNAMED)
async def test_what_reaches_all_of_a_tenant_reaches_no_others(foreign: Engine, name: str) -> None:
    before = dump(foreign.opened)

    async with _clients(foreign) as clients:
        for client in clients:
            answer = await _outcome(UNNAMED[name], client, "")
            assert not getattr(answer, "runs", getattr(answer, "approvals", answer))

    # A signal to all is kept, as one that reached nobody.
    after = dump(foreign.opened)
    assert {table for table in {*before, *after} if before.get(table) != after.get(table)} <= {
        "signals",
        "memory signals",
    }


@pytest.mark.requirement("promise-10")
async def test_a_key_that_another_tenant_used_starts_a_run_of_ones_own(foreign: Engine) -> None:
    client = Client(foreign.store, foreign.host, tenant=MINE)

    [handle] = await client.start_many([Start(workflow="order", key="k")])
    await client.close()

    assert handle.created
    assert handle.id != FOREIGN
    assert foreign.store.get_run(MINE, handle.id).tenant == MINE


@pytest.mark.requirement("C-11", "C-54")
async def test_an_explanation_goes_down_the_children_that_a_run_waits_for(foreign: Engine) -> None:
    client = Client(foreign.store, foreign.host, tenant=THEIRS)

    deep = await client.explain(FOREIGN)
    flat = await client.explain(FOREIGN, depth=0)
    await client.close()

    child = next(reason.child for reason in deep.reasons if reason.kind == "child")
    assert child is not None
    assert [reason.kind for reason in child.reasons] == ["no_worker"]
    assert all(reason.child is None for reason in flat.reasons)
