"""Live runs that go on with another version of their graph, or with steps that were appended to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.definitions import DefinitionError, GraphError
from holdfast.core.history import history_of
from holdfast.errors import CommandRefused, MoveRefused, RunFinished, RunHeld
from holdfast.model.status import RunStatus
from holdfast.testing.replay import replay
from tests.engine.conftest import Engine
from tests.engine.test_versions import account, client_of, first_program, mail, parked, second_program, until

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("promise-9", "promise-2")
async def test_a_parked_run_is_moved_and_ends_on_the_version_it_was_moved_to(engine: Engine) -> None:
    old_app, old = first_program()
    new_app, new = second_program(knows_mail=False)
    async with engine.worker(old_app):
        run = await client_of(engine, old_app).start(old)
        await parked(engine, run.id)
    client = client_of(engine, new_app)
    version = (await client.definitions.put(new)).version.number

    plan = await client.plan_move(run.id, version)
    moved = await client.move(run.id, version, actor="ann", reason="letters from now on")

    assert (plan.allowed, plan.kept) == (True, ["account", "consent"])
    assert moved.version == version
    async with engine.worker(new_app):
        await run.signal("go")
        assert await run.result(60) == {"letter": "letter"}
    detail = engine.detail(run.id)
    assert [entry.key for entry in detail.journal] == ["account", "letter"]
    assert (await asyncio.to_thread(replay, new_app, [history_of(detail)])).replayed == 1


def renamed_program() -> tuple[hf.App, hf.Graph]:
    """Every node that the first program has, under another key, and one more."""
    app = hf.App("tests")
    for name, function in (("signup.account", account), ("signup.mail", mail)):
        app.step(name=name)(function)
    graph = app.graph("signup").step("user", app.find_step("signup.account") or account)
    graph.wait_for_signal("agreed", "go").step("mail", app.find_step("signup.mail") or mail)
    return app, graph


@pytest.mark.requirement("promise-2", "promise-9")
async def test_a_run_goes_on_with_renamed_nodes_and_calls_nothing_twice(engine: Engine) -> None:
    old_app, old = first_program()
    new_app, new = renamed_program()
    async with engine.worker(old_app):
        run = await client_of(engine, old_app).start(old)
        await parked(engine, run.id)
    client = client_of(engine, new_app)
    await client.definitions.put(new)

    with pytest.raises(MoveRefused) as refused:
        await client.move(run.id, 2)
    await client.move(run.id, 2, {"account": "user", "consent": "agreed"})

    assert [problem.node for problem in refused.value.problems] == ["account", "consent"]
    async with engine.worker(new_app):
        await parked(engine, run.id)
        await run.signal("go")
        assert await run.result(60) == {"mail": "mail"}
    detail = engine.detail(run.id)
    assert [entry.key for entry in detail.journal] == ["user", "mail"]
    assert (await asyncio.to_thread(replay, new_app, [history_of(detail)])).replayed == 1


async def test_a_new_root_begins_as_soon_as_a_waiting_run_is_moved(engine: Engine) -> None:
    old_app, old = first_program()
    new_app, new = second_program()
    new.step("welcome", mail, after=[])
    async with engine.worker(old_app):
        run = await client_of(engine, old_app).start(old)
        await parked(engine, run.id)
    client = client_of(engine, new_app)
    await client.definitions.put(new)
    await client.move(run.id, 2)

    async def welcomed() -> bool:
        return "welcome" in [entry.key for entry in engine.detail(run.id).journal]

    async with engine.worker(new_app):
        await until(welcomed)
        await run.signal("go")
        assert await run.result(60) == {"letter": "letter", "welcome": "mail"}


LETTER = {"kind": "step", "key": "letter", "handler": "signup.letter"}
AFTER_MAIL = [{"source": "mail", "target": "letter"}]


@pytest.mark.requirement("O-02")
async def test_steps_are_appended_to_a_live_run_and_to_no_other(engine: Engine) -> None:
    app, graph = first_program()
    app.step(name="signup.letter")(lambda: "letter")
    client = client_of(engine, app)
    async with engine.worker(app):
        run, other = [await client.start(graph) for _ in range(2)]
        await parked(engine, run.id)
        await parked(engine, other.id)

        changed = await client.append(run.id, LETTER, edges=AFTER_MAIL, actor="ann")
        again = await client.append(run.id, LETTER, edges=AFTER_MAIL, actor="ann")
        for one in (run, other):
            await one.signal("go")

        assert await run.result(60) == {"letter": "letter"}
        assert await other.result(60) == {"mail": "mail"}
    assert (changed.version, again.version) == (2, 2)
    stored = await client.definitions.get("signup", 2)
    assert (stored.version.source, stored.version.created_by) == (f"append:{run.id}", "ann")
    assert [one.moved is not None for one in engine.detail(run.id).transitions].count(True) == 1


@pytest.mark.requirement("O-02")
async def test_what_cannot_be_appended_is_refused_and_leaves_nothing(engine: Engine) -> None:
    app, graph = first_program()
    client = client_of(engine, app)
    run = await client.start(graph)
    into_old = [{"source": "letter", "target": "mail"}]
    bad: list[tuple[type[Exception], tuple[dict[str, Any], ...], list[dict[str, Any]]]] = [
        (GraphError, (), []),
        (GraphError, ({**LETTER, "key": "mail"},), []),
        (GraphError, (LETTER,), into_old),
        (GraphError, (LETTER,), [{"source": "nobody", "target": "letter"}]),
        (DefinitionError, ({"kind": "stamp", "key": "letter"},), []),
    ]

    for error, nodes, edges in bad:
        with pytest.raises(error):
            await client.append(run.id, *nodes, edges=edges)

    assert [one.number for one in await client.definitions.list("signup")] == [1]
    await client.terminate(run.id)
    with pytest.raises(RunFinished):
        await client.append(run.id, LETTER)
    assert [one.number for one in await client.definitions.list("signup")] == [1]


async def test_a_functions_run_is_neither_moved_nor_appended_to(engine: Engine) -> None:
    @engine.app.workflow
    async def nap() -> None:
        await hf.sleep(100)

    run = await engine.client.start(nap)

    with pytest.raises(CommandRefused, match="a function's run"):
        await engine.client.plan_move(run.id, 1)
    with pytest.raises(CommandRefused, match="a function's run"):
        await engine.client.move(run.id, 1)
    with pytest.raises(CommandRefused, match="a function's run"):
        await engine.client.append(run.id, LETTER)


async def until_true(condition: Callable[[], bool]) -> None:
    """Come back when it holds."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


def slow_program() -> tuple[hf.App, hf.Graph, list[int], asyncio.Event]:
    """A step that waits for the test, and then a signal; how often the step began, and what lets it end."""
    app = hf.App("tests")
    begun: list[int] = []
    go_on = asyncio.Event()

    @app.step
    async def slow() -> str:
        begun.append(1)
        await go_on.wait()
        return "slow"

    app.step(name="signup.letter")(lambda: "letter")
    return app, app.graph("long").step("slow", slow).wait_for_signal("consent", "go").step("mail", mail), begun, go_on


@pytest.mark.requirement("O-02", "promise-2", "C-08")
async def test_a_run_is_appended_to_while_a_worker_holds_it_and_goes_on(engine: Engine) -> None:
    app, graph, begun, go_on = slow_program()
    client = client_of(engine, app)
    async with engine.worker(app):
        run = await client.start(graph)
        await until_true(lambda: bool(begun))
        appending = asyncio.create_task(client.append(run.id, LETTER, edges=AFTER_MAIL, actor="ann", reason="a letter"))
        await until_true(lambda: engine.detail(run.id).transitions[-1].reason == "move_requested")
        assert "it is to be moved" in str(await client.explain(run.id))
        go_on.set()
        appended = await appending
        await run.signal("go")

        assert appended.version == 2
        assert await run.result(60) == {"letter": "letter"}
    assert begun == [1]
    made = {one.reason: one for one in engine.detail(run.id).transitions}
    assert [(made[word].actor, made[word].note) for word in ("move_requested", "moved")] == [("ann", "a letter")] * 2


@pytest.mark.requirement("O-02", "C-08")
async def test_a_run_whose_move_is_refused_when_it_was_given_back_goes_on_at_once(engine: Engine) -> None:
    app, graph, begun, go_on = slow_program()
    other = hf.App("tests").graph("long").step("quick", mail)
    client = client_of(engine, app)
    await client.definitions.put(other)
    async with engine.worker(app):
        run = await client.start(graph)
        await until_true(lambda: bool(begun))
        moving = asyncio.create_task(client.move(run.id, 1, wait=600))
        await until_true(lambda: engine.detail(run.id).transitions[-1].reason == "move_requested")
        go_on.set()
        with pytest.raises(MoveRefused):
            await moving
        await run.signal("go")

        assert await run.result(60) == {"mail": "mail"}
    assert begun == [1]


@pytest.mark.requirement("O-02", "promise-11")
async def test_a_move_that_is_not_let_in_in_time_says_so_and_moves_nothing(engine: Engine) -> None:
    app, graph, begun, go_on = slow_program()
    client = client_of(engine, app)
    async with engine.worker(app):
        run = await client.start(graph)
        await until_true(lambda: bool(begun))
        with pytest.raises(RunHeld, match="a worker holds it"):
            await client.append(run.id, LETTER, edges=AFTER_MAIL, wait=0.05)
        go_on.set()
        await run.signal("go")

        assert "letter" not in await run.result(60)
    assert begun == [1]
    assert engine.detail(run.id).run.version == 1


def undoing_program(first: str, undone: list[str], *, fails: bool) -> tuple[hf.App, hf.Graph]:
    """A step that can be undone, a wait, and a last step."""
    app = hf.App("tests")

    @app.step(name="signup.start")
    def start() -> str:
        return "begun"

    @start.compensate
    def undo(result: str) -> None:
        undone.append(result)

    def last() -> str:
        if fails:
            raise hf.NonRetryable("no")
        return "last"

    graph = app.graph("signup").step(first, start)
    return app, graph.wait_for_signal("consent", "go").step("end" if fails else "last", last)


@pytest.mark.requirement("promise-8")
async def test_what_a_run_did_before_it_was_moved_is_undone_under_its_new_key(engine: Engine) -> None:
    undone: list[str] = []
    old_app, old = undoing_program("first", undone, fails=False)
    new_app, new = undoing_program("begin", undone, fails=True)
    async with engine.worker(old_app):
        run = await client_of(engine, old_app).start(old)
        await parked(engine, run.id)
    client = client_of(engine, new_app)
    await client.definitions.put(new)
    await client.move(run.id, 2, {"first": "begin"})

    async with engine.worker(new_app):
        await run.signal("go")
        ended = await client.wait_for_end(run.id, timeout=60)

    assert (ended.status, undone) == (RunStatus.FAILED, ["begun"])
    keys = [entry.key for entry in engine.detail(run.id).journal]
    assert keys == ["begin", "end", "begin~compensate"]


@pytest.mark.requirement("S-35", "promise-1")
async def test_a_child_that_is_under_way_stays_the_child_of_its_renamed_node(engine: Engine) -> None:
    def program(key: str) -> tuple[hf.App, hf.Graph]:
        app = hf.App("tests")

        @app.workflow
        async def ship() -> str:
            await hf.wait_for_signal("shipped")
            return "shipped"

        return app, app.graph("order").child(key, ship)

    old_app, old = program("ship")
    new_app, new = program("delivery")
    async with engine.worker(old_app):
        run = await client_of(engine, old_app).start(old)
        await parked(engine, run.id)
    client = client_of(engine, new_app)
    await client.definitions.put(new)
    await client.move(run.id, 2, {"ship": "delivery"})

    async with engine.worker(new_app):
        await parked(engine, run.id)
        [child] = (await client.list(parent_id=run.id)).runs
        await client.signal("shipped", run_id=child.id)
        assert await run.result(60) == {"delivery": "shipped"}

    assert (await client.get(child.id)).parent_key == "delivery"
    assert len((await client.list(parent_id=run.id)).runs) == 1
