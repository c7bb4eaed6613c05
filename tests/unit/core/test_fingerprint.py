from __future__ import annotations

import msgspec
import pytest

from holdfast.core.fingerprint import error_facts
from holdfast.model.ids import Json

TRACE = 'Traceback (most recent call last):\n  File "/srv/a/orders.py", line 12, in charge\n    raise Refused\n'


def _of(message: str, type_: str = "Refused", trace: str = TRACE) -> str:
    return error_facts(Json(msgspec.json.encode({"type": type_, "message": message, "traceback": trace}))).fingerprint


@pytest.mark.requirement("L-33")
def test_what_differs_from_run_to_run_and_from_release_to_release_is_no_part_of_a_fingerprint() -> None:
    one = _of("order 17 at 0x7f00 of 018f6c1e-0000-7000-8000-000000000001 failed after 1.5 s")
    two = _of(
        "order 999 at 0xffff of 018f6c1e-aaaa-7000-8000-00000000ffff failed  after 30 s",
        trace=TRACE.replace("line 12", "line 40").replace("/srv/a", "/opt/b"),
    )

    assert one == two


@pytest.mark.requirement("L-33")
def test_another_type_message_or_place_is_another_fingerprint() -> None:
    same = _of("no route")

    others = {_of("no route", type_="OSError"), _of("no host"), _of("no route", trace=TRACE.replace("charge", "ship"))}

    assert same not in others
    assert len(others) == 3


@pytest.mark.parametrize("stored", [b"[1]", b"{", b'{"type":1,"message":null}', b"[" * 100_000])
def test_whatever_was_stored_has_a_fingerprint(stored: bytes) -> None:
    assert len(error_facts(Json(stored)).fingerprint) == 16


def test_what_a_database_cannot_take_is_taken_out() -> None:
    facts = error_facts(Json(b'{"type":"A","message":"a\\u0000b' + b"x" * 5_000 + b'"}'))

    assert facts.message.startswith("a bx")
    assert len(facts.message) == 1_000
