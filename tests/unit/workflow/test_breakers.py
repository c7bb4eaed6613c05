"""A breaker's name means one declaration within an App."""

from __future__ import annotations

import pytest

import holdfast as hf
from holdfast.errors import UsageError

pytestmark = pytest.mark.requirement("S-37")


async def work() -> None:
    """A step."""


def test_another_declaration_of_the_same_name_is_refused_where_it_is_made() -> None:
    app = hf.App("shop")
    charge = app.step(name="charge", breaker=hf.Breaker("stripe"))(work)
    app.step(name="refund", breaker=hf.Breaker("stripe"))(work)
    other = hf.Breaker("stripe", failures=9)

    with pytest.raises(UsageError, match="breaker 'stripe' is declared twice, and differently"):
        app.step(name="void", breaker=other)
    with pytest.raises(UsageError, match="declared twice"):
        app.transaction(name="book", breaker=other)
    with pytest.raises(UsageError, match="declared twice"):
        charge.with_options(breaker=other)
    with pytest.raises(UsageError, match="declared twice"):
        charge.compensate_with(breaker=other)(work)
    assert list(app.breakers) == ["stripe"]
    assert hf.App("another").step(name="charge", breaker=other)(work).options.breaker == other


def test_one_call_may_name_another_breaker() -> None:
    app = hf.App("shop")
    charge = app.step(name="charge", breaker=hf.Breaker("stripe"))(work)

    other = charge.with_options(breaker=hf.Breaker("adyen"))

    assert (charge.options.breaker, other.options.breaker) == (hf.Breaker("stripe"), hf.Breaker("adyen"))
    assert charge.with_options(key="one").options.breaker == hf.Breaker("stripe")
    assert list(app.breakers) == ["stripe", "adyen"]
