"""A listing, a count and a group read few rows, however many runs there are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from holdfast.model.ids import DEFAULT_TENANT, UnixMs
from holdfast.model.run import RunFilter
from holdfast.model.search import AttributeRange, GroupBy, RunOrder, WaitingOn
from holdfast.model.status import EntryKind, RunStatus
from holdfast.store.listings import approval_values, may_answer_postgres, output_values, outputs_of, page_of_approvals
from holdfast.store.paging import GATHERED, WINDOW, decode_cursor
from holdfast.store.search import group, read_page
from tests.contract.scene import run_id
from tests.unit.postgres_plans import Reader
from tests.unit.postgres_rows import SIZE

LISTED = {
    "all": RunFilter(),
    "all, oldest first": RunFilter(order=RunOrder.OLDEST),
    "all, last ended first": RunFilter(order=RunOrder.ENDED),
    "status": RunFilter(statuses=frozenset({RunStatus.WAITING})),
    "two statuses": RunFilter(statuses=frozenset({RunStatus.WAITING, RunStatus.QUEUED})),
    "workflow": RunFilter(workflow="order"),
    "workflow and status": RunFilter(workflow="order", statuses=frozenset({RunStatus.FAILED})),
    "time": RunFilter(created_from_ms=UnixMs(100), created_before_ms=UnixMs(90_000)),
    "time of another order": RunFilter(finalized_before_ms=UnixMs(5_000)),
    "key": RunFilter(key="key-777"),
    "parent": RunFilter(parent_id=run_id(2)),
    "forks": RunFilter(forked_from_id=run_id(2)),
    "root": RunFilter(root_id=run_id(2)),
    "attribute": RunFilter(attributes={"customer": 3}),
    "attribute, last ended first": RunFilter(attributes={"customer": 3}, order=RunOrder.ENDED),
    "two attributes": RunFilter(attributes={"customer": 3, "city": "x"}),
    "attribute of a status": RunFilter(attributes={"customer": 3}, statuses=frozenset({RunStatus.FAILED})),
    "range of an attribute": RunFilter(ranges=(AttributeRange("customer", ">", 5),)),
    "signal that few wait for": RunFilter(waiting_on=WaitingOn("signal", "s999")),
    "signal that many wait for": RunFilter(waiting_on=WaitingOn("signal", "s1"), workflow="order"),
    "any signal": RunFilter(waiting_on=WaitingOn("signal")),
    "child": RunFilter(waiting_on=WaitingOn("child", run_id(7))),
    "error": RunFilter(error_type="ValueError"),
    "error of a workflow": RunFilter(error_type="ValueError", workflow="other"),
    "fingerprint": RunFilter(fingerprint="f1"),
    "text": RunFilter(text="nothing like it"),
    "queue": RunFilter(queue="slow"),
}


@pytest.fixture
def reader(loaded: str) -> Iterator[Reader]:
    one = Reader(loaded)
    yield one
    one.connection.close()


@pytest.mark.requirement("L-33")
@pytest.mark.parametrize("name", LISTED)
@pytest.mark.parametrize("number", [1, 2])
def test_a_page_reads_few_rows_however_many_there_are(reader: Reader, name: str, number: int) -> None:
    where, after = LISTED[name], None
    for _ in range(number):
        reader.plans.clear()
        page = read_page(reader, DEFAULT_TENANT, where, limit=50, after=after)
        after = None if page.next is None else decode_cursor(page.next)

    assert reader.scanned() == set()
    assert reader.sorted_rows() <= len(RunStatus) * WINDOW
    # A key is looked at by its index, its run and what belongs to that.
    assert reader.rows_read() <= (len(RunStatus) + 3) * WINDOW + 2 * GATHERED


@pytest.mark.requirement("C-55")
def test_open_approvals_are_found_by_their_index(reader: Reader) -> None:
    for names, after in (([], None), (["ann"], (UnixMs(5), run_id(5), "a"))):
        values = approval_values(DEFAULT_TENANT, limit=50, after=after) | {"now_ms": 1, "names": names}
        may = may_answer_postgres if names else None

        found = reader(page_of_approvals, (may, after is not None), values)

        assert len(found) == 51
    assert reader.scanned() == set()
    assert reader.rows_read() <= 500


@pytest.mark.parametrize("after", [None, 5])
def test_what_a_run_says_is_found_by_its_index(reader: Reader, after: int | None) -> None:
    values = output_values(run_id(1), "progress", after=after, limit=50)

    reader(outputs_of, (EntryKind.EMITTED, after is None), values)

    assert reader.scanned() == set()
    assert reader.rows_read() <= 50


@pytest.mark.requirement("O-07", "L-33")
@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (RunFilter(statuses=frozenset({RunStatus.FAILED})), 0),
        (RunFilter(key="key-777"), 1),
        (RunFilter(parent_id=run_id(2)), 200),
        (RunFilter(created_from_ms=UnixMs(99_000), statuses=frozenset({RunStatus.WAITING})), 100),
        (RunFilter(waiting_on=WaitingOn("signal", "s999")), 0),
    ],
    ids=str,
)
def test_a_count_and_a_group_of_few_runs_read_few_rows(reader: Reader, where: RunFilter, expected: int) -> None:
    for by, bare in ((GroupBy.STATUS, True), (GroupBy.WORKFLOW, False)):
        assert sum(one.count for one in group(reader, DEFAULT_TENANT, where, by, limit=10, bare=bare)) == expected

    assert reader.scanned() == set()
    assert reader.rows_read() <= 2_000


@pytest.mark.requirement("O-07", "L-33")
@pytest.mark.parametrize("where", [RunFilter(), RunFilter(workflow="order", created_from_ms=UnixMs(10))], ids=str)
def test_counting_up_to_a_number_reads_so_many_of_each_status(reader: Reader, where: RunFilter) -> None:
    found = group(reader, DEFAULT_TENANT, where, GroupBy.STATUS, limit=10, bare=True, most=100)

    assert {one.value: one.count for one in found} == dict.fromkeys(("queued", "waiting", "running", "completed"), 100)
    assert reader.scanned() == set()
    assert reader.rows_read() <= 4 * 100


@pytest.mark.requirement("L-33")
def test_errors_are_grouped_without_a_look_at_runs_that_have_none(reader: Reader) -> None:
    groups = group(reader, DEFAULT_TENANT, RunFilter(), GroupBy.ERROR, limit=10)

    assert sum(one.count for one in groups) == SIZE / 50
    assert reader.scanned() == set()
    assert reader.rows_read() == SIZE / 50
