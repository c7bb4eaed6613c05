"""The public signatures, as type checkers see them: `make check` runs mypy and pyright over this file."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Never, assert_type

import holdfast as hf

app = hf.App("typed")


@dataclass(frozen=True)
class Order:
    """An order."""

    number: str


@dataclass(frozen=True)
class Receipt:
    """A receipt."""

    amount: int


@app.step(retry=hf.Retry(max_attempts=5), timeout=timedelta(seconds=30))
async def charge(order: Order, cents: int = 100) -> Receipt:
    """An async step."""
    return Receipt(cents)


@charge.compensate
async def refund(order: Order, receipt: Receipt) -> None:
    """Its compensation."""


@app.step
def label(order: Order) -> bytes:
    """A plain step."""
    return order.number.encode()


@app.transaction
def book(connection: sqlite3.Connection, order: Order) -> int:
    """A transactional step."""
    return 1


@app.workflow
async def endless(page: int) -> Receipt:
    """A workflow without an end: behind the call nothing is reached."""
    receipt: Receipt | None = None
    if page > 1:
        receipt = Receipt(page)
    if receipt is None:
        assert_type(hf.continue_as_new(page + 1), Never)
    assert_type(receipt, Receipt)
    return receipt


@app.workflow
async def fulfil(order: Order, urgent: bool = False) -> Receipt:
    """An async workflow."""
    receipt = await charge(order)
    assert_type(receipt, Receipt)
    assert_type(await charge.with_options(key="again")(order, 5), Receipt)
    assert_type(await label.aio(order), bytes)
    assert_type(await book.aio(order), int)
    assert_type(await hf.gather(charge(order), label.aio(order)), tuple[Receipt, bytes])
    assert_type(await hf.gather(*(charge(order) for _ in range(9))), list[Receipt])
    assert_type(await hf.map(charge, [order]), list[Receipt])
    assert_type(await hf.map(label.aio, [order], tolerate=0.5), list[bytes | Exception])
    assert_type(await hf.run_child(pack, order, 3), list[str])
    child = await hf.start_child(pack, order, 3)
    assert_type(await child.result(), list[str])
    assert_type(await hf.wait_for_signal("approved", Receipt), Receipt)
    return receipt


@app.workflow(queue="packing")
def pack(order: Order, parcels: int) -> list[str]:
    """A plain workflow."""
    assert_type(label(order), bytes)
    assert_type(charge.sync(order), Receipt)
    assert_type(hf.blocking.map(label, [order]), list[bytes])
    return [order.number] * parcels


def test_steps_and_workflows_keep_their_types() -> None:
    order = Order("o-1")

    assert_type(asyncio.run(charge(order)), Receipt)
    assert_type(label(order), bytes)
    assert_type(pack(order, 2), list[str])

    assert pack(order, 2) == ["o-1", "o-1"]


async def clients(client: hf.Client, blocking: hf.SyncClient) -> None:
    """Never called: only read by type checkers."""
    run = await client.start(fulfil, Order("o-1"), key="o-1")
    assert_type(run, hf.RunHandle[Receipt])
    assert_type(await run.result(timeout=5), Receipt)
    assert_type(await client.start(fulfil, Order("o-1"), True), hf.RunHandle[Receipt])
    assert_type(await client.start(pack, Order("o-1"), 2), hf.RunHandle[list[str]])
    assert_type(await client.start("fulfil", 1, 2), hf.RunHandle[Any])
    assert_type(blocking.start(fulfil, Order("o-1"), key="k").result(), Receipt)
    assert_type(blocking.start(pack, Order("o-1"), 2).result(), list[str])
