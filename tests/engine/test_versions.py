"""A run ends on the version of its graph that it was started with, whatever workers and releases do meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import holdfast as hf
from holdfast.client.client import Client, Start
from holdfast.core.definitions import content_hash, draw_mermaid, draw_svg
from holdfast.errors import DefinitionNotFound, ReleaseNotFound, UsageError, WorkflowNotRegistered
from holdfast.model.status import RunStatus, StepState
from tests.engine.conftest import Engine

pytestmark = pytest.mark.anyio


def account() -> str:
    """The first step of all versions."""
    return "account"


def mail() -> str:
    """What version 1 ends with."""
    return "mail"


def letter() -> str:
    """What version 2 ends with."""
    return "letter"


def first_program() -> tuple[hf.App, hf.Graph]:
    """The program as it was."""
    app = hf.App("tests")
    graph = app.graph("signup").step("account", account).wait_for_signal("consent", "go")
    return app, graph.step("mail", mail)


def second_program(*, knows_mail: bool = True) -> tuple[hf.App, hf.Graph]:
    """The program as it is now: another step at the end."""
    app = hf.App("tests")
    graph = app.graph("signup").step("account", account).wait_for_signal("consent", "go").step("letter", letter)
    if knows_mail:
        app.step(name="signup.mail")(mail)
    return app, graph


def client_of(engine: Engine, app: hf.App | None) -> Client:
    return Client(engine.store, engine.host, registry=app)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Come back when it holds."""
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.02)


async def parked(engine: Engine, run_id: str) -> None:
    """Come back when the run waits."""

    async def waits() -> bool:
        return (await engine.client.get(run_id)).status is RunStatus.WAITING

    await until(waits)


@pytest.mark.requirement("promise-9", "C-04", "R-26")
async def test_a_run_ends_on_its_version_while_workers_run_newer_code(engine: Engine) -> None:
    old_app, old = first_program()
    new_app, new = second_program()
    async with engine.worker(old_app):
        before = await client_of(engine, old_app).start(old)
        await parked(engine, before.id)
    async with engine.worker(new_app):
        after = await client_of(engine, new_app).start(new)
        await before.signal("go")
        await after.signal("go")

        assert await before.result(60) == {"mail": "mail"}
        assert await after.result(60) == {"letter": "letter"}

    runs = [await engine.client.get(one.id) for one in (before, after)]
    assert [(run.version, run.definition_hash) for run in runs] == [
        (1, content_hash(old.build())),
        (2, content_hash(new.build())),
    ]


@pytest.mark.requirement("promise-9", "C-05")
async def test_a_worker_that_lacks_a_handler_leaves_the_run_alone_and_explain_names_it(engine: Engine) -> None:
    old_app, old = first_program()
    new_app, _ = second_program(knows_mail=False)
    client = client_of(engine, old_app)
    run = await client.start(old)

    async def is_explained() -> bool:
        return "lacks step 'signup.mail'" in str(await client.explain(run.id))

    async with engine.worker(new_app):
        await until(is_explained)
        text = str(await client.explain(run.id))
        assert "no live worker knows version 1 of workflow 'signup'" in text
        assert engine.detail(run.id).run.epoch == 0
        async with engine.worker(old_app):
            await run.signal("go")
            assert await run.result(60) == {"mail": "mail"}


async def test_a_worker_learns_a_stored_graph_that_its_program_does_not_register(engine: Engine) -> None:
    old_app, old = first_program()
    steps_only = hf.App("tests")
    steps_only.step(name="signup.account")(account)
    steps_only.step(name="signup.mail")(mail)

    @steps_only.workflow
    async def other() -> None: ...

    run = await client_of(engine, old_app).start(old)
    async with engine.worker(steps_only):
        await run.signal("go")
        assert await run.result(60) == {"mail": "mail"}


@pytest.mark.requirement("L-27", "L-58")
async def test_a_start_by_name_follows_the_live_release(engine: Engine) -> None:
    old_app, old = first_program()
    _, new = second_program()
    stranger = client_of(engine, None)
    await stranger.definitions.put(old)
    await stranger.definitions.put(new)
    with pytest.raises(ReleaseNotFound, match="no release 'live'"):
        await stranger.start("signup")

    await stranger.definitions.promote("signup", 2)
    second = await stranger.start("signup")
    await stranger.definitions.promote("signup", 1)
    first = await stranger.start("signup")
    back = await stranger.definitions.restore("signup")
    third = await client_of(engine, hf.App("another")).start("signup")
    chosen = await client_of(engine, old_app).start(old, version=2)

    versions = [(await stranger.get(run.id)).version for run in (second, first, third, chosen)]
    assert (versions, back.version) == ([2, 1, 2, 2], 2)


async def test_a_start_that_names_nothing_known_is_a_typed_error(engine: Engine) -> None:
    app, graph = first_program()
    client = client_of(engine, app)

    @app.workflow
    async def plain() -> None: ...

    with pytest.raises(WorkflowNotRegistered, match="no workflow named 'nothing'"):
        await client.start("nothing")
    with pytest.raises(DefinitionNotFound, match="has no stored definition 7"):
        await client.start(graph, version=7)
    with pytest.raises(UsageError, match="it has no versions"):
        await client.start(plain, version=1)
    assert await client.count() == {}


@pytest.mark.requirement("C-01", "L-56")
async def test_a_program_stores_its_graph_once_whoever_starts_it_and_how_often(engine: Engine) -> None:
    clients = [client_of(engine, first_program()[0]) for _ in range(3)]

    await asyncio.gather(*(client.start("signup") for client in clients for _ in range(3)))
    await clients[0].start_many([Start(workflow="signup"), Start(workflow="signup")])

    versions = await clients[0].definitions.list("signup")
    assert [(version.number, version.source) for version in versions] == [(1, "app")]
    assert {run.version for run in (await clients[0].list()).runs} == {1}


async def test_a_graph_that_is_not_stored_cannot_be_started_in_a_callers_transaction(engine: Engine) -> None:
    app, graph = first_program()
    client = client_of(engine, app)
    with engine.opened.transaction() as connection, pytest.raises(DefinitionNotFound):
        await client.start(graph, connection=connection)

    await client.definitions.put(graph)
    with engine.opened.transaction() as connection:
        run = await client.start(graph, connection=connection)

    assert (await client.get(run.id)).version == 1


async def test_children_follow_the_version_that_their_parents_program_has(engine: Engine) -> None:
    @engine.app.workflow
    async def parent() -> Any:
        return await hf.run_child(child)

    child = engine.app.graph("child").step("only", account)
    async with engine.worker():
        run = await engine.client.start(parent)
        assert await run.result(60) == {"only": "account"}

    [row] = (await engine.client.list(parent_id=run.id)).runs
    assert (row.version, row.definition_hash) == (1, content_hash(child.build()))


async def test_a_run_is_drawn_by_how_far_it_has_come_with_each_node(engine: Engine) -> None:
    def break_down() -> None:
        raise hf.NonRetryable("no stamps")

    graph = engine.app.graph("states").step("first", account).step("never", mail, when="false")
    graph.loop("again", account, until="iteration == 2").wait_for_signal("consent", "go")
    graph.step("last", break_down)
    graph.step("spare", letter, after=["first"]).edge("first", "unused", condition="result == 'x'")
    graph.step("unused", letter, after=["first"])
    definition = graph.build()
    async with engine.worker():
        run = await engine.client.start(graph)
        await parked(engine, run.id)
        waiting = (await engine.client.dag(run.id)).node_states()
        await run.signal("go")
        with pytest.raises(hf.errors.RunFailed):
            await run.result(60)

    ended = (await engine.client.dag(run.id)).node_states()
    assert waiting["first"] is waiting["again"] is waiting["spare"] is StepState.COMPLETED
    assert waiting["consent"] is StepState.WAITING
    assert waiting["last"] is StepState.BLOCKED
    assert ended["consent"] is StepState.COMPLETED
    assert ended["last"] is StepState.FAILED
    assert ended["never"] is ended["unused"] is StepState.SKIPPED
    picture = draw_svg(definition, ended)
    assert picture.count("#fee2e2") == 1
    assert "classDef failed" in draw_mermaid(definition, ended)


def walked_inside(app: hf.App, name: str) -> hf.Graph:
    """A step, a wait and a step."""
    return app.graph(name).step("first", account).wait_for_signal("consent", name).step("last", mail)


async def test_nodes_inside_of_subgraphs_are_drawn_by_the_same_walk(engine: Engine) -> None:
    app = engine.app
    graph = app.graph("outer").subgraph("now", walked_inside(app, "go"))
    graph.subgraph("later", walked_inside(app, "on"), after=["now"])
    graph.step("choose", account, after=[]).edge("choose", "never", condition="result == 'x'")
    graph.subgraph("never", walked_inside(app, "never"), after=[])
    async with engine.worker():
        run = await engine.client.start(graph)
        await parked(engine, run.id)
        before = (await engine.client.dag(run.id)).node_states()
        await engine.client.terminate(run.id)
    after = (await engine.client.dag(run.id)).node_states()

    def inside(states: dict[str, StepState], name: str) -> list[str]:
        return [states[path].value for path in (name, f"{name}/first", f"{name}/consent", f"{name}/last")]

    assert inside(before, "now") == ["waiting", "completed", "waiting", "blocked"]
    assert inside(before, "later") == ["blocked"] * 4
    assert inside(before, "never") == ["skipped"] * 4
    assert inside(after, "now") == ["skipped", "completed", "skipped", "skipped"]
    assert inside(after, "later") == ["skipped"] * 4
    drawn = draw_mermaid(graph.build(), before)
    assert drawn.count(":::waiting") == 1
    assert ":::blocked" not in drawn
    assert "classDef blocked" not in drawn
    assert draw_svg(graph.build(), before).count("#fef3c7") == 2


def numbered_program(number: int, *, count: int) -> hf.App:
    """One of several programs in a row: each ends its graph with a step of its own, and knows those of all others."""
    app = hf.App("tests")
    graph = app.graph("signup").step("first", account).wait_for_signal("consent", "go")
    for each in range(count):
        step = app.step(name=f"last_{each}")(_answering(each))
        if each == number:
            graph.step("last", step)
    return app


def _answering(number: int) -> Callable[[], int]:
    def last() -> int:
        return number

    return last


@pytest.mark.requirement("promise-9", "fault-56", "fault-57")
@pytest.mark.parametrize("seed", range(2))
async def test_every_run_ends_on_its_version_across_random_redeploys(engine: Engine, seed: int) -> None:
    pick = random.Random(seed)
    programs = [numbered_program(number, count=4) for number in range(4)]
    expected: dict[str, int] = {}
    for _ in range(3):
        # Two generations of workers overlap, and clients of yet others start runs.
        async with engine.worker(pick.choice(programs)), engine.worker(pick.choice(programs)):
            for number in pick.choices(range(4), k=4):
                run = await client_of(engine, programs[number]).start("signup")
                expected[run.id] = number
            for run_id in pick.sample(sorted(expected), len(expected) // 2):
                with contextlib.suppress(hf.errors.RunFinished):
                    await engine.client.signal("go", run_id=run_id)
            await asyncio.sleep(0.1 * pick.random())
    async with engine.worker(pick.choice(programs)):
        for run_id, number in expected.items():
            with contextlib.suppress(hf.errors.RunFinished):
                await engine.client.signal("go", run_id=run_id)
            assert await engine.client.wait_for_result(run_id, timeout=60) == {"last": number}
