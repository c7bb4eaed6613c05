"""What the shop talks about. Money is in minor units (cents; yen have none)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct


class Item(Struct, frozen=True):
    """One line of an order: some pieces of one article."""

    serial: str
    """Unique: what the warehouse packs."""
    sku: str
    quantity: int
    unit_price: int


class Order(Struct, frozen=True):
    """What a customer wants."""

    id: str
    customer: str
    card: str
    """A token of the payment service, never a card's number."""
    currency: str
    items: list[Item]

    @property
    def total(self) -> int:
        """What it costs, in minor units."""
        return sum(item.quantity * item.unit_price for item in self.items)

    @property
    def demand(self) -> dict[str, int]:
        """How many pieces of each article it needs."""
        wanted: dict[str, int] = {}
        for item in self.items:
            wanted[item.sku] = wanted.get(item.sku, 0) + item.quantity
        return wanted


class Receipt(Struct, frozen=True):
    """A charge that was made."""

    charge: str
    amount: int
    currency: str


class Reservation(Struct, frozen=True):
    """Stock that is kept for an order."""

    reservation: str


class Parcel(Struct, frozen=True):
    """A packed item."""

    parcel: str
    serial: str


class Shipment(Struct, frozen=True):
    """An order on its way."""

    tracking: str


class Approval(Struct, frozen=True):
    """A person's decision: the payload of the signal ``order.approved``."""

    approved: bool
    by: str


Decision = Literal["early", "late", "refused", "never"]
"""When the shop's staff approves: before the run asks, after, not at all, or it says no."""


class Case(Struct, frozen=True):
    """An order, and what the demonstration lets happen to it."""

    order: Order
    decision: Decision


class OrderBook(Struct, frozen=True):
    """The file of orders."""

    stock: dict[str, int]
    """What the warehouse has, by article."""
    damaged: list[str]
    """Serials of items that turn out to be broken when they are packed."""
    cases: list[Case]


def read_orders(path: Path) -> OrderBook:
    """Read a file of orders. Raises OSError, msgspec.ValidationError, msgspec.DecodeError."""
    return msgspec.json.decode(path.read_bytes(), type=OrderBook)


def write_orders(book: OrderBook, path: Path) -> None:
    """Write a file of orders, one case per line, so that differences can be read."""
    cases = ",\n".join(msgspec.json.encode(case).decode() for case in book.cases)
    stock, damaged = msgspec.json.encode(book.stock).decode(), msgspec.json.encode(book.damaged).decode()
    path.write_text(f'{{"stock":{stock},\n"damaged":{damaged},\n"cases":[\n{cases}\n]}}\n', encoding="utf-8")
