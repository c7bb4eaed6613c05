"""The filter language reads what people type, and says what it cannot read."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from holdfast.core.filters import parse_filter, parse_value
from holdfast.errors import UsageError
from holdfast.model.ids import RunId, UnixMs
from holdfast.model.run import RunFilter
from holdfast.model.search import AttributeRange, RunOrder, WaitingOn
from holdfast.model.status import RunStatus

NOW = UnixMs(1_700_000_000_000)
ID = RunId("00000000-0000-7000-8000-000000000001")
JANUARY_MS = UnixMs(1_767_225_600_000)


@pytest.mark.requirement("L-33")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", RunFilter()),
        ("status:failed", RunFilter(statuses=frozenset({RunStatus.FAILED}))),
        ("status:failed,stuck", RunFilter(statuses=frozenset({RunStatus.FAILED, RunStatus.STUCK}))),
        ("type:order queue:slow", RunFilter(workflow="order", queue="slow")),
        ("workflow:order version:3 key=a-1", RunFilter(workflow="order", version=3, key="a-1")),
        (f"parent:{ID} root:{ID}", RunFilter(parent_id=ID, root_id=ID)),
        (f"forked:{ID}", RunFilter(forked_from_id=ID)),
        ("waiting:signal:order.approved", RunFilter(waiting_on=WaitingOn("signal", "order.approved"))),
        ("waiting:timer", RunFilter(waiting_on=WaitingOn("timer"))),
        (f"waiting:child:{ID}", RunFilter(waiting_on=WaitingOn("child", ID))),
        ("error:orders.Refused fingerprint:abc", RunFilter(error_type="orders.Refused", fingerprint="abc")),
        ("created>=2026-01-01", RunFilter(created_from_ms=JANUARY_MS)),
        ("created>2026-01-01", RunFilter(created_from_ms=UnixMs(JANUARY_MS + 1))),
        ("ended<2026-01-01T01:00:00+01:00", RunFilter(finalized_before_ms=JANUARY_MS)),
        ("updated<=1.5h", RunFilter(updated_before_ms=UnixMs(NOW - 5_400_000 + 1))),
        ("order:ended", RunFilter(order=RunOrder.ENDED)),
        ("attr.customer=42 attr.vip:true", RunFilter(attributes={"customer": 42, "vip": True})),
        ('attr.customer="42"', RunFilter(attributes={"customer": "42"})),
        (r'attr."the city"="New \"York\""', RunFilter(attributes={"the city": 'New "York"'})),
        ("attr.total>=10.5", RunFilter(ranges=(AttributeRange("total", ">=", 10.5),))),
        ("attr.due<2026-01-01", RunFilter(ranges=(AttributeRange("due", "<", datetime(2026, 1, 1, tzinfo=UTC)),))),
        ('refused "no route"', RunFilter(text="refused no route")),
        ("12:30", RunFilter(text="12:30")),
    ],
)
def test_a_text_means_a_filter(text: str, expected: RunFilter) -> None:
    assert parse_filter(text, now_ms=NOW) == expected


@pytest.mark.requirement("L-33")
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("status:gone", "the statuses are"),
        ("colour:red", "there is no field 'colour'"),
        ("status:", "has no value"),
        ("status>failed", "compared with : alone"),
        ("version:three", "version:three"),
        ("parent:7", "7"),
        ("created:2026-01-01", "compared with <"),
        ("created>soon", "as an age"),
        ("created>2026-13-01", "no date"),
        ("key:a key:b", "given twice"),
        ("attr.x=1 attr.x=2", "given twice"),
        ("attr.x=", "has no value"),
        ("order:sideways", "the orders are"),
        ("waiting:child:7", "7"),
        ("attr.x=9007199254740993", "2\\*\\*53"),
    ],
)
def test_what_cannot_be_read_is_quoted_with_the_way_out(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse_filter(text, now_ms=NOW)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("-1.5", -1.5), ("1e3", 1000.0), ("true", True), ("True", "True"), ('"1"', "1"), ("1a", "1a")],
)
def test_a_value_has_the_kind_that_it_looks_like(text: str, value: object) -> None:
    found = parse_value(text)

    assert (type(found), found) == (type(value), value)
