"""Graphs of thousands of nodes, from start to end through client, worker and store: the work grows with the nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

import holdfast as hf
from holdfast.model.commit import CommitAnswer, RunCommit
from holdfast.model.run import Claim
from holdfast.model.status import EntryStatus
from tests.engine.conftest import Engine

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("engine", ["sqlite", "postgres"], indirect=True)]


@dataclass
class Traffic:
    """What a worker sent to the store, and read from it."""

    commits: int = 0
    written: int = 0
    read: int = 0


@pytest.fixture
def traffic(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Traffic:
    """Counts what goes between worker and store."""
    seen, store = Traffic(), engine.store
    commit, claim_runs = store.commit, store.claim_runs

    def counted_commit(batch: Sequence[RunCommit]) -> CommitAnswer:
        seen.commits += 1
        seen.written += sum(len(one.entries) + len(one.waits) + len(one.attempts) for one in batch)
        return commit(batch)

    def counted_claim(*args: Any, **options: Any) -> Claim:
        claim = claim_runs(*args, **options)
        seen.read += sum(len(run.journal) + len(run.waits) for run in claim.runs)
        return claim

    monkeypatch.setattr(store, "commit", counted_commit)
    monkeypatch.setattr(store, "claim_runs", counted_claim)
    return seen


async def count(done: int) -> int:
    """One more."""
    return done + 1


def chain(engine: Engine, size: int) -> hf.Graph:
    """One step after the other."""
    engine.app.step(count)
    graph = engine.app.graph("chain")
    for number in range(size):
        graph.step(f"n{number}", count, input={"done": f"results.n{number - 1}" if number else "0"})
    return graph


@pytest.mark.requirement("B-22", "S-20")
async def test_a_long_chain_costs_one_commit_a_node_and_reads_nothing_again(engine: Engine, traffic: Traffic) -> None:
    size = 1_500
    graph = chain(engine, size)

    async with engine.worker():
        run = await engine.client.start(graph)
        assert await run.result(60) == {f"n{size - 1}": size}

    assert traffic.commits <= size + 1
    assert traffic.written == size
    assert traffic.read == 0


@pytest.mark.requirement("B-22", "S-20")
async def test_a_wide_graph_costs_few_commits_however_wide_it_is(engine: Engine, traffic: Traffic) -> None:
    size = 5_000
    graph = engine.app.graph("wide")
    engine.app.step(count)
    for number in range(size):
        graph.step(f"n{number}", count, input={"done": "1"}, after=[])

    async with engine.worker():
        run = await engine.client.start(graph)
        assert await run.result(60) == {f"n{number}": 2 for number in range(size)}

    assert traffic.commits <= 10
    assert traffic.written == size
    assert traffic.read == 0


@pytest.mark.requirement("promise-2", "B-22")
async def test_a_long_chain_that_is_handed_over_reads_its_record_once_and_does_no_node_twice(
    engine: Engine, traffic: Traffic
) -> None:
    size = 1_000
    graph = chain(engine, size)
    run = await engine.client.start(graph)

    async with engine.worker():
        while traffic.written < size // 2:
            await asyncio.sleep(0.001)
    recorded = len(engine.detail(run.id).journal)
    async with engine.worker():
        assert await run.result(60) == {f"n{size - 1}": size}

    assert size // 2 <= recorded < size
    assert traffic.read == recorded
    assert traffic.written == size
    journal = engine.detail(run.id).journal
    assert [(entry.attempts, entry.status) for entry in journal] == [(1, EntryStatus.COMPLETED)] * size
