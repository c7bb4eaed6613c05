"""The engine under faults: seeds, all single faults of single runs, and the simulator's promise to repeat itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Generator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

import holdfast as hf
from holdfast.testing import Fault, crash_everywhere
from holdfast.testing.sim.cluster import MakeStore
from holdfast.workflow.workflow import Workflow
from tests.sim import workloads
from tests.sim.campaign import RACES, SOMETIMES, Seed, run_campaign, run_seed
from tests.sim.mutants import MUTANTS, Mutant
from tests.sim.stores import KINDS, store_maker
from tests.sim.world import WORLD, World

pytestmark = pytest.mark.timeout(600)

SEEDS = {"memory": 48, "sqlite": 30}
SWEEPS = 16
"""How many seeds each store is tried with, unless HOLDFAST_SIM_SEEDS says otherwise."""

LONG = 40
"""With at least so many seeds everything that is worth happening must have happened."""

FAULTS = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.LOST, Fault.ANSWER_LOST, Fault.UNKNOWN, Fault.LATE)
SIGNALS = [("mail", "first"), ("mail", "second")]


def count_of_seeds(kind: str) -> int:
    return int(os.environ.get("HOLDFAST_SIM_SEEDS", SEEDS[kind]))


@pytest.fixture(scope="module", params=KINDS)
def campaign(request: pytest.FixtureRequest) -> list[Seed]:
    """Every seed of one kind of store."""
    return list(run_campaign(range(count_of_seeds(request.param)), request.param))


@pytest.fixture(params=KINDS)
def make_store(request: pytest.FixtureRequest) -> Generator[tuple[str, MakeStore]]:
    with store_maker(request.param) as make:
        yield request.param, make


@pytest.mark.requirement("promise-1", "promise-2", "promise-3", "promise-4", "promise-5", "promise-6", "promise-7")
@pytest.mark.requirement("promise-8", "promise-11", "promise-12", "fault-1", "fault-2", "fault-3", "fault-4")
@pytest.mark.requirement("fault-5", "fault-7", "fault-10", "fault-11", "fault-12", "fault-13", "fault-14", "fault-15")
@pytest.mark.requirement("fault-18", "fault-19", "fault-42", "fault-44", "fault-45", "fault-46", "fault-47")
@pytest.mark.requirement("fault-48", "fault-49", "fault-53", "C-28")
def test_every_promise_holds_under_faults(campaign: list[Seed]) -> None:
    broken = [str(seed) for seed in campaign if seed.violations]

    assert not broken, "\n".join(broken)


def test_a_campaign_reaches_every_rare_case(campaign: list[Seed]) -> None:
    notes = Counter[str]()
    for seed in campaign:
        notes += seed.notes

    missing = [what for what in SOMETIMES if not notes[what]]

    assert not missing or len(campaign) < LONG, f"in {len(campaign)} seeds never happened: {missing}"


@pytest.mark.requirement("fault-47", "C-50", "S-53")
@pytest.mark.parametrize("race", RACES)
def test_each_race_is_won_by_one_now_this_and_now_that_one(campaign: list[Seed], race: str) -> None:
    wins = {winner: sum(seed.notes[winner] for seed in campaign) for winner in RACES[race]}

    assert all(wins.values()) or len(campaign) < LONG, f"{race}: {wins}"
    assert not any(seed.violations for seed in campaign)


def test_the_same_seed_gives_the_same_schedule(make_store: tuple[str, MakeStore]) -> None:
    kind, make = make_store

    first, second = run_seed(7, kind, make), run_seed(7, kind, make)

    assert (first.digest, first.events, first.notes) == (second.digest, second.events, second.notes)
    assert first.digest != run_seed(8, kind, make).digest


@pytest.mark.parametrize("kind", KINDS)
def test_the_schedule_does_not_depend_on_the_process(kind: str) -> None:
    program = (
        f"from tests.sim.campaign import run_campaign\nprint([seed.digest for seed in run_campaign([3, 4], {kind!r})])"
    )

    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for hash_seed in ("0", "7")
    }

    assert digests == {f"{[seed.digest for seed in run_campaign([3, 4], kind)]}\n"}


def sweep(mutant: Mutant, make: MakeStore, seed: int) -> None:
    """Try the faults that leave a commit unknown at each call of the run in which the mutant is to be found."""
    assert mutant.swept is not None
    workflow, args = mutant.swept
    crash_everywhere(
        workflow,
        *args,
        app=workloads.app,
        faults=(Fault.UNKNOWN, Fault.LATE),
        reset=lambda: WORLD.set(World(Random(seed), slow=0.0)),
        make_store=make,
        seed=seed,
    )


def fresh_world() -> None:
    WORLD.set(World(Random(1), slow=0.0))


@pytest.mark.requirement("fault-1", "fault-3", "fault-18", "fault-19", "fault-48", "S-52", "S-54", "S-56")
@pytest.mark.parametrize(
    ("workflow", "args"),
    [
        (workloads.three, (1,)),
        (workloads.saga, (3, 3, True)),
        (workloads.saga, (4, 4, True)),
        (workloads.retries, (1, 2)),
        (workloads.retries, (1, 9)),
        (workloads.fan, (1, 4, -1)),
        (workloads.tolerant, (1, 4, 2)),
        (workloads.branches, (1,)),
        (workloads.nap, (1, 2.0)),
        (workloads.mail, (1, 2)),
        (workloads.mail_in_time, (1, 1.0)),
        (workloads.news, (1, 2)),
        (workloads.letters, (1,)),
        (workloads.says, (1, 3)),
        (workloads.family, (1, 2)),
        (workloads.hurry, (1,)),
        (workloads.values, (1,)),
        (workloads.plain, (1,)),
        (workloads.booking, (1, "memory")),
        (workloads.bookings, (1, "memory")),
    ],
    ids=lambda value: value.name if isinstance(value, Workflow) else "",
)
def test_a_run_survives_every_single_fault(workflow: Workflow[..., Any], args: tuple[Any, ...]) -> None:
    # A run whose deadline is near has to be taken over before it.
    settings = hf.WorkerSettings(lease=timedelta(seconds=2), poll=timedelta(seconds=0.5))

    report = crash_everywhere(
        workflow,
        *args,
        app=workloads.app,
        signals=SIGNALS if workflow is workloads.mail else (),
        faults=FAULTS,
        reset=fresh_world,
        settings=settings,
    )

    assert len(report.points) == report.calls * len(FAULTS)


@pytest.mark.requirement("promise-3", "fault-1", "fault-19")
@pytest.mark.parametrize(
    ("workflow", "args"),
    [(workloads.saga, (3, 3, True)), (workloads.mail, (1, 2)), (workloads.bookings, (1, "sqlite"))],
    ids=lambda value: value.name if isinstance(value, Workflow) else "",
)
def test_a_run_on_sqlite_survives_every_crash(workflow: Workflow[..., Any], args: tuple[Any, ...]) -> None:
    with store_maker("sqlite") as make:
        report = crash_everywhere(
            workflow,
            *args,
            app=workloads.app,
            signals=SIGNALS if workflow is workloads.mail else (),
            faults=(*FAULTS[:2], Fault.ANSWER_LOST),
            reset=fresh_world,
            make_store=make,
        )

    assert report.calls > 4


@pytest.mark.requirement("fault-19", "promise-3")
@pytest.mark.parametrize("mutant", [mutant for mutant in MUTANTS if mutant.swept], ids=str)
def test_a_run_survives_every_unknown_commit_in_any_order_of_its_branches(mutant: Mutant) -> None:
    with store_maker(mutant.kind) as make:
        for seed in range(SWEEPS):
            sweep(mutant, make, seed)
