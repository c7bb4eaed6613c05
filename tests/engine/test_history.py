"""``replay``: what is recorded, held against other code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs

import holdfast as hf
from holdfast.core.history import History, decode_history, encode_history, redact
from holdfast.errors import HistoryUnreadable
from holdfast.testing import HistoriesParted, Parting, read_histories, replay
from tests.golden.recording import record

Body = Callable[["Program"], None]


class Program:
    """An App with four steps that note each call, and one workflow given as a body."""

    def __init__(self, body: Body) -> None:
        self.app = hf.App("program")
        self.called: list[str] = []

        @self.app.step
        async def one(value: int = 1) -> int:
            self.called.append("one")
            return value

        @self.app.step
        async def two(value: int = 2) -> int:
            self.called.append("two")
            return value

        @self.app.step
        def three() -> int:
            self.called.append("three")
            return 3

        @self.app.step(retry=hf.Retry.never())
        async def fail() -> None:
            self.called.append("fail")
            raise ValueError("planned")

        self.one, self.two, self.three, self.fail = one, two, three, fail
        body(self)


def before(program: Program) -> None:
    @program.app.workflow
    async def order() -> int:
        first = await program.one()
        second = await program.two()
        await hf.wait_for_signal("go")
        return first + second


def record_before(*, ends: bool) -> list[History]:
    signals = [("go", None)] if ends else []
    return asyncio.run(record(Program(before).app, "order", signals=signals, ends=ends))


def part(body: Body, *, ends: bool = False) -> Parting | None:
    """Where the last history of ``before`` parts from another body."""
    program = Program(body)
    report = replay(program.app, record_before(ends=ends)[-1:], check=False)
    assert report.replayed == 1
    assert program.called == []
    return report.partings[0] if report.partings else None


@pytest.mark.requirement("promise-9")
@pytest.mark.parametrize("ends", [False, True], ids=["live", "ended"])
def test_the_same_code_agrees_with_its_histories_and_no_handler_runs(ends: bool) -> None:
    assert part(before, ends=ends) is None


def test_what_comes_after_the_record_may_be_anything() -> None:
    def after(program: Program) -> None:
        @program.app.workflow
        async def order() -> int:
            first = await program.one() + await program.two()
            await hf.wait_for_signal("go")
            return first + await program.three.aio()

    assert part(after) is None


def test_an_ended_run_that_the_code_would_go_on_with_parts() -> None:
    def after(program: Program) -> None:
        @program.app.workflow
        async def order() -> int:
            first = await program.one() + await program.two()
            await hf.wait_for_signal("go")
            return first + await program.three.aio()

    parting = part(after, ends=True)

    assert parting is not None
    assert (parting.kind, parting.key) == ("added", "three")


def test_a_removed_step_parts_at_what_the_code_does_instead() -> None:
    def after(program: Program) -> None:
        @program.app.workflow
        async def order() -> int:
            first = await program.one()
            await hf.wait_for_signal("go")  # instead
            return first

    parting = part(after)

    assert parting is not None
    assert (parting.kind, parting.key, parting.recorded) == ("removed", "two", "step 'two'")
    assert parting.asked == "'signal:go' before it"
    lines = Path(__file__).read_text("utf-8").splitlines()
    number = next(at for at, line in enumerate(lines, start=1) if line.endswith("# instead"))
    assert parting.source is not None
    assert parting.source.endswith(f"test_history.py:{number}")


def test_a_step_that_was_put_before_recorded_ones_parts() -> None:
    def after(program: Program) -> None:
        @program.app.workflow
        async def order() -> int:
            first = await program.one() + await program.three.aio() + await program.two()
            await hf.wait_for_signal("go")
            return first

    parting = part(after)

    assert parting is not None
    assert (parting.kind, parting.key, parting.asked) == ("removed", "two", "'three' before it")


@pytest.mark.requirement("fault-56")
def test_the_same_step_behind_a_patch_does_not() -> None:
    def after(program: Program) -> None:
        @program.app.workflow
        async def order() -> int:
            first = await program.one()
            if hf.patched("three"):
                first += await program.three.aio()
            second = await program.two()
            await hf.wait_for_signal("go")
            return first + second

    assert part(after) is None
    assert part(after, ends=True) is None


def test_other_arguments_and_another_kind_part_at_their_line() -> None:
    def arguments(program: Program) -> None:
        @program.app.workflow
        async def order() -> int:
            return await program.one(7)

    def kind(program: Program) -> None:
        @program.app.workflow
        def order() -> None:
            hf.blocking.sleep(1, key="one")

    first, second = part(arguments), part(kind)

    assert first is not None
    assert second is not None
    assert (first.kind, first.recorded) == ("changed", "step 'one' with other arguments")
    assert (second.kind, second.asked) == ("changed", "a wait for a timer")
    assert all(each.source is not None and "test_history.py:" in each.source for each in (first, second))


def test_a_body_that_fails_on_what_is_recorded_parts() -> None:
    def after(program: Program) -> None:
        @program.app.workflow
        async def order() -> int:
            first: str = await program.one()  # type: ignore[assignment]  # the mistake
            return len(first.upper())

    parting = part(after)

    assert parting is not None
    assert (parting.kind, parting.key) == ("outcome", "two")
    assert "AttributeError" in parting.asked


def test_an_input_that_no_longer_fits_parts() -> None:
    def after(program: Program) -> None:
        @program.app.workflow
        async def order(name: str) -> int:
            return await program.one()

    parting = part(after)

    assert parting is not None
    assert parting.kind == "outcome"


def test_a_failure_that_became_a_success_parts() -> None:
    def failing(program: Program) -> None:
        @program.app.workflow
        async def order() -> None:
            await program.fail()

    def caught(program: Program) -> None:
        @program.app.workflow
        async def order() -> str:
            try:
                await program.fail()
            except ValueError:
                return "caught"
            return ""

    histories = asyncio.run(record(Program(failing).app, "order"))

    assert replay(Program(failing).app, histories).replayed == 1
    with pytest.raises(HistoriesParted, match="planned"):
        replay(Program(caught).app, histories)


def test_histories_of_unknown_workflows_are_counted_and_skipped() -> None:
    def other(program: Program) -> None:
        @program.app.workflow
        async def another() -> None:
            return None

    report = replay(Program(other).app, record_before(ends=False))

    assert (report.replayed, report.skipped) == (0, {"order": 1})


@pytest.mark.requirement("promise-9")
def test_a_graph_is_replayed_like_a_function() -> None:
    def first(program: Program) -> None:
        graph = program.app.graph("order").step("one", program.one).step("two", program.two)
        graph.sleep("settle", 0.3).wait_for_signal("consent", "ok")

    def other(program: Program) -> None:
        graph = program.app.graph("order").step("one", program.one).step("two", program.three)
        graph.sleep("settle", 0.3).wait_for_signal("consent", "ok")

    histories = asyncio.run(record(Program(first).app, "order", signals=[("ok", None)]))
    same, changed = Program(first), Program(other)

    assert replay(same.app, histories).replayed == len(histories) >= 2
    # These go on with the version that they were started with: another graph says nothing about them.
    assert replay(changed.app, histories).skipped == {"order version 1": len(histories)}
    # The same graph with another outcome recorded parts.
    entry = histories[-1].journal[1]
    other_step = [*histories[-1].journal[:1], structs.replace(entry, name="three"), *histories[-1].journal[2:]]
    [parting] = replay(same.app, [structs.replace(histories[-1], journal=other_step)], check=False).partings
    assert (parting.kind, parting.key, parting.asked) == ("changed", "two", "step 'two'")
    assert same.called == changed.called == []


# Files


def test_a_history_comes_back_from_its_line_as_it_was() -> None:
    for history in record_before(ends=True):
        line = encode_history(history)

        assert b"\n" not in line
        assert decode_history(line, "line 1") == history


def test_a_redacted_history_holds_no_payload_and_is_not_replayed() -> None:
    def secret(program: Program) -> None:
        @program.app.workflow
        async def order(word: str) -> str:
            return f"{word} {await program.one()}"

    program = Program(secret)
    history = redact(asyncio.run(record(program.app, "order", "hunter2"))[-1])
    line = encode_history(history)

    assert b"hunter2" not in line
    assert [entry.key for entry in decode_history(line, "line 1").journal] == ["one"]
    with pytest.raises(HistoryUnreadable, match="redacted"):
        replay(program.app, [decode_history(line, "line 1")])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{", "truncated"),
        (b"7", "Expected `object`"),
        (b'{"format": "other", "version": 1, "redacted": false}', "'other'"),
        (b'{"format": "holdfast.history", "version": 2, "run": {}}', "this release reads 'holdfast.history' version 1"),
        (b'{"format": "holdfast.history", "version": 1, "run": {"id": 7}}', "`str`"),
    ],
)
def test_a_line_that_is_no_history_says_where_and_why(tmp_path: Path, line: bytes, why: str) -> None:
    path = tmp_path / "histories.jsonl"
    path.write_bytes(b"\n" + line + b"\n")

    with pytest.raises(HistoryUnreadable) as error:
        list(read_histories(path))

    assert "line 2 of" in str(error.value)
    assert why in str(error.value)
