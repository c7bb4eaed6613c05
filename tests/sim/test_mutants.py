"""The campaign notices every planted bug, so that its silence means something."""

from __future__ import annotations

import pytest

from holdfast.testing import CrashFound
from holdfast.testing.sim.cluster import MakeStore
from tests.sim.campaign import run_seed
from tests.sim.mutants import MUTANTS, Mutant
from tests.sim.stores import store_maker
from tests.sim.test_campaign import SEEDS, SWEEPS, sweep

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("mutant", [mutant for mutant in MUTANTS if not mutant.swept], ids=str)
def test_a_planted_bug_is_found_within_the_seeds_that_the_engine_passes(mutant: Mutant) -> None:
    with store_maker(mutant.kind) as make_store:
        for seed in range(SEEDS[mutant.kind]):
            with mutant.plant():
                outcome = run_seed(seed, mutant.kind, make_store)
            if outcome.violations:
                return

    pytest.fail(f"{mutant} survived {SEEDS[mutant.kind]} seeds")


@pytest.mark.parametrize("mutant", [mutant for mutant in MUTANTS if mutant.swept], ids=str)
def test_a_planted_bug_is_found_by_the_single_faults_that_the_engine_passes(mutant: Mutant) -> None:
    with store_maker(mutant.kind) as make_store, mutant.plant():
        found = [seed for seed in range(SWEEPS) if is_found(mutant, make_store, seed)]

    assert found, f"{mutant} survived {SWEEPS} sweeps"


def is_found(mutant: Mutant, make_store: MakeStore, seed: int) -> bool:
    """Whether one sweep notices the mutant that is planted."""
    try:
        sweep(mutant, make_store, seed)
    except CrashFound:
        return True
    return False
