"""Nothing crosses tenants: whatever is asked with another tenant's id is answered as for an id that nobody has.

The matrix is made of every public method of the client; a new one fails here until it is said how it is called.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec import structs

from holdfast.client.client import Client, Start
from holdfast.errors import HoldfastError
from holdfast.model.command import Pause
from holdfast.model.commit import NewWait, Park, RunCommit
from holdfast.model.ids import Tenant
from holdfast.model.run import NewRun, WorkerInfo
from holdfast.model.status import WaitKind
from tests.contract.scene import ALICE, INPUT, run_id
from tests.engine.conftest import Engine

pytestmark = pytest.mark.anyio

Call = Callable[[Client, str], Awaitable[Any]]

MINE, THEIRS = Tenant("mine"), Tenant("theirs")
FOREIGN, ABSENT = run_id(0xABC), run_id(0xDEF)


async def _first_of_stream(client: Client, run: str) -> Any:
    return [item async for item in client.stream(run, "log")]


CALLS: dict[str, Call] = {
    "get": lambda c, i: c.get(i),
    "detail": lambda c, i: c.detail(i),
    "explain": lambda c, i: c.explain(i),
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
    "wait_for_end": lambda c, i: c.wait_for_end(i, timeout=0.01),
    "wait_for_result": lambda c, i: c.wait_for_result(i, timeout=0.01),
    "handle": lambda c, i: c.handle(i).get(),
    "read": lambda c, i: c.read(i, "progress"),
    "query": lambda c, i: c.query(i, "progress"),
    "update": lambda c, i: c.update(i, "change", 1, timeout=0.01),
    "stream": _first_of_stream,
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
}
"""Calls that reach all of a tenant's runs: here there are none."""

NO_RUN_ID = {"result_from", "start", "start_in", "start_many", "signal_in", "close", "workers", "approvals"}
"""They take no id of a run; what they start has the tenant of the client, and an inbox is its tenant's."""


@pytest.fixture
def foreign(engine: Engine) -> Engine:
    """A store in which another tenant has a run that waits for a signal, an attribute and a child."""
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
    return engine


async def _outcome(call: Call, client: Client, asked: str) -> Any:
    """What a call answers, with the id that was asked for taken out."""
    try:
        answer = await call(client, asked)
    except HoldfastError as error:
        facts = {name: value for name, value in error.facts.items() if name != "failure"}
        return type(error), str(error).replace(asked, "ID"), str(facts).replace(asked, "ID")
    return answer


@pytest.mark.requirement("promise-10", "C-11", "C-56")
def test_the_matrix_knows_every_public_method_of_the_client() -> None:
    public = {
        name for name, member in inspect.getmembers(Client) if not name.startswith("_") and inspect.isfunction(member)
    }

    takes_run_id = {name for name in public if {"run_id"} & set(inspect.signature(getattr(Client, name)).parameters)}

    assert takes_run_id <= CALLS.keys() | {"answer"}, "say in CALLS how it is called with a run's id"
    assert public - takes_run_id <= CALLS.keys() | NO_RUN_ID | {"answer"}


@pytest.mark.requirement("promise-10", "C-11", "C-12", "C-56")
@pytest.mark.parametrize("name", CALLS)
async def test_another_tenants_run_is_answered_as_one_that_nobody_has(foreign: Engine, name: str) -> None:
    client = Client(foreign.store, foreign.host, tenant=MINE, registry=foreign.app)
    before = foreign.store.read_detail(THEIRS, FOREIGN)

    theirs = await _outcome(CALLS[name], client, FOREIGN)
    nobodys = await _outcome(CALLS[name], client, ABSENT)
    await client.close()

    assert theirs == nobodys
    assert _content(foreign.store.read_detail(THEIRS, FOREIGN)) == _content(before)


@pytest.mark.requirement("promise-10", "C-13", "C-56")
@pytest.mark.parametrize("name", UNNAMED)
async def test_what_reaches_all_runs_of_a_tenant_reaches_no_others(foreign: Engine, name: str) -> None:
    client = Client(foreign.store, foreign.host, tenant=MINE, registry=foreign.app)
    before = foreign.store.read_detail(THEIRS, FOREIGN)

    answer = await UNNAMED[name](client, "")
    await client.close()

    assert not getattr(answer, "runs", answer)
    assert _content(foreign.store.read_detail(THEIRS, FOREIGN)) == _content(before)


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


def _content(detail: Any) -> Any:
    return structs.replace(detail, now_ms=0, workers=[])
