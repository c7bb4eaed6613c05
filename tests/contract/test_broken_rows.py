"""A row that cannot be read is shown as broken, and hides no other (RELIABILITY, the poison row)."""

from __future__ import annotations

import pytest

from holdfast.errors import StoreCorrupt
from holdfast.model.ids import DEFAULT_TENANT
from holdfast.model.run import RunFilter
from tests.contract.conftest import Opener
from tests.contract.scene import Scene, run_id
from tests.contract.stores import ManualClock

BREAK = {
    "sqlite": "update holdfast_runs set attributes = '[1]' where id = ?",
    "postgres": "update holdfast.runs set attributes = '[1]' where id = %s",
}


@pytest.mark.requirement("L-33")
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_row_that_cannot_be_read_is_shown_as_broken_and_hides_no_other(open_store: Opener, kind: str) -> None:
    with open_store(kind, ManualClock()) as opened:
        scene = Scene(opened)
        for number in (1, 2, 3):
            scene.start(number)
        with opened.owner_transaction() as connection:
            connection.execute(BREAK[kind], (run_id(2),))

        page = opened.store.list_runs(DEFAULT_TENANT, RunFilter(), limit=2, after=None)
        rest = opened.store.list_runs(DEFAULT_TENANT, RunFilter(), limit=2, after=page.next)
        several = opened.store.get_runs(DEFAULT_TENANT, [run_id(1), run_id(2), run_id(3)])

        assert [run.id for run in page.runs] == [run_id(3)]
        assert [one.id for one in page.broken] == [run_id(2)]
        assert page.broken[0].why
        assert [run.id for run in rest.runs] == [run_id(1)]
        assert sorted(run.id for run in several) == [run_id(1), run_id(3)]
        with pytest.raises(StoreCorrupt):
            opened.store.get_run(DEFAULT_TENANT, run_id(2))
