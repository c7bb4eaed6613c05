"""Histories of graphs are held against the version that their run follows, whatever the program's own is."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import structs

from holdfast.core.history import History, decode_history, encode_history, history_of, redact
from holdfast.errors import HistoryUnreadable
from holdfast.runtime.replay import ReplayReport
from holdfast.testing.replay import replay
from holdfast.workflow.registry import Registry
from tests.engine.conftest import Engine
from tests.engine.test_versions import client_of, first_program, parked, second_program

pytestmark = pytest.mark.anyio


async def record_first(engine: Engine) -> History:
    """The history of an ended run of the first program, with its version."""
    app, graph = first_program()
    client = client_of(engine, app)
    async with engine.worker(app):
        run = await client.start(graph)
        await parked(engine, run.id)
        await run.signal("go")
        await run.result(60)
    stored = await client.definitions.get("signup", 1)
    return history_of(engine.detail(run.id), stored.definition)


async def replayed(app: Registry, *histories: History) -> ReplayReport:
    return await asyncio.to_thread(replay, app, histories, check=False)


@pytest.mark.requirement("promise-9", "C-04")
async def test_a_history_is_replayed_against_its_own_version_by_a_program_with_another(engine: Engine) -> None:
    history = await record_first(engine)
    app, _ = second_program()

    report = await replayed(app, history, decode_history(encode_history(history), "line 1"))
    without = await replayed(app, structs.replace(history, definition=None))

    assert (report.replayed, report.partings, report.skipped) == (2, [], {})
    assert (without.replayed, without.skipped) == (0, {"signup version 1": 1})


async def test_a_record_that_its_version_does_not_ask_for_parts(engine: Engine) -> None:
    history = await record_first(engine)
    app, _ = second_program()
    more = structs.replace(history.journal[-1], key="stamp", seq=99)

    report = await replayed(app, structs.replace(history, journal=[*history.journal, more]))

    [parting] = report.partings
    assert (parting.kind, parting.key) == ("removed", "stamp")


async def test_a_program_that_lacks_a_step_of_the_version_skips_it_and_names_the_step(engine: Engine) -> None:
    history = await record_first(engine)
    app, _ = second_program(knows_mail=False)

    report = await replayed(app, history)

    assert (report.replayed, report.skipped) == (0, {"signup version 1 (lacks step 'signup.mail')": 1})


async def test_a_history_with_another_definition_than_its_runs_is_refused(engine: Engine) -> None:
    history = await record_first(engine)
    app, other = second_program()

    with pytest.raises(HistoryUnreadable, match="another definition than the one that the run follows"):
        await replayed(app, structs.replace(history, definition=other.build()))


async def test_a_definition_is_written_and_read_with_its_history_and_redacted_away(engine: Engine) -> None:
    history = await record_first(engine)

    assert decode_history(encode_history(history), "line 1") == history
    assert redact(history).definition is None
    assert b"signup.mail" not in encode_history(structs.replace(redact(history), journal=[]))
