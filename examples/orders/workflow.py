"""The order-fulfilment workflow. Start a worker for it: ``holdfast worker examples.orders.workflow:app``."""

from __future__ import annotations

from datetime import timedelta

import holdfast as hf
from examples.orders.model import Approval, Item, Order, Parcel, Receipt, Reservation, Shipment
from examples.orders.service import CannotSupply, CardDeclined, post

app = hf.App("orders")

PATIENT = hf.Retry(max_attempts=12, initial=timedelta(milliseconds=200), max_delay=timedelta(seconds=5))
"""A customer who was charged must not be forgotten because the service was busy for a minute."""

LIMIT = timedelta(seconds=10)

app.error(CardDeclined)
app.error(CannotSupply)


@app.error
class OrderRefused(Exception):
    """The shop's staff refused the order."""


@app.step(retry=PATIENT, timeout=LIMIT)
def charge(order: Order) -> Receipt:
    """Take the money."""
    body = {"order": order.id, "card": order.card, "amount": order.total, "currency": order.currency}
    return post("/charges", body, Receipt)


@charge.compensate_with(retry=PATIENT, timeout=LIMIT)
def refund(order: Order, receipt: Receipt) -> None:
    """Give it back."""
    body = {"order": order.id, "charge": receipt.charge, "amount": receipt.amount, "currency": receipt.currency}
    post("/refunds", body, dict)


@app.step(retry=PATIENT, timeout=LIMIT)
def reserve(order: Order) -> Reservation:
    """Keep the goods for this order."""
    return post("/reservations", {"order": order.id, "pieces": order.demand}, Reservation)


@reserve.compensate_with(retry=PATIENT, timeout=LIMIT)
def release(order: Order, reservation: Reservation) -> None:
    """Let others have them."""
    post("/releases", {"order": order.id, "reservation": reservation.reservation}, dict)


@app.step(retry=PATIENT, timeout=LIMIT)
def pack(order: str, item: Item) -> Parcel:
    """Put an item into a parcel."""
    return post("/parcels", {"order": order, "serial": item.serial}, Parcel)


@pack.compensate_with(retry=PATIENT, timeout=LIMIT)
def unpack(order: str, item: Item, parcel: Parcel) -> None:  # noqa: ARG001 - called with what pack was called with
    """Take it out again."""
    post("/unpackings", {"order": order, "parcel": parcel.parcel}, dict)


@app.step(retry=PATIENT, timeout=LIMIT)
def ship(order: str, parcels: list[Parcel]) -> Shipment:
    """Hand the parcels to the carrier. The last step: nothing after it can fail, so nothing undoes it."""
    return post("/shipments", {"order": order, "parcels": [parcel.parcel for parcel in parcels]}, Shipment)


async def pack_all(order: Order) -> list[Parcel]:
    """Pack the items side by side. If one cannot be packed, the others are packed all the same, and then undone.

    A step between two tries, or whose worker died, may have taken effect without anybody knowing. Let to its end, it
    is recorded, and so it is compensated.
    """
    packed = await hf.gather(*(pack.aio(order.id, item) for item in order.items), return_exceptions=True)
    for one in packed:
        if isinstance(one, Exception):
            raise one
    return [one for one in packed if isinstance(one, Parcel)]


@app.workflow
async def fulfil(order: Order, approve_within: timedelta) -> Shipment:
    """Charge, reserve, pack, wait for a person's approval, ship; undo all of it if one of them fails."""
    await charge.aio(order)
    await reserve.aio(order)
    parcels = await pack_all(order)
    approval = await hf.wait_for_signal("order.approved", Approval, timeout=approve_within)
    if not approval.approved:
        raise OrderRefused(f"{approval.by} refused {order.id}")
    return await ship.aio(order.id, parcels)
