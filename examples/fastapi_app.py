"""A worker inside a web application: ``uvicorn examples.fastapi_app:web``, with ``pip install fastapi uvicorn``.

    curl -X POST localhost:8000/orders -H 'Content-Type: application/json' -d '{"id": "42", "email": "a@example.org"}'
    curl localhost:8000/orders/42

The answer to the POST comes as soon as the run is durable; stop the server in the middle, start it again, and the
order goes on.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel

import holdfast as hf

app = hf.App("web-shop")


class Order(BaseModel):
    """What is posted, and what the workflow is given."""

    id: str
    email: str


class Progress(BaseModel):
    """How far an order is."""

    order: str
    status: str
    result: str | None = None
    explanation: str


@app.step
async def charge(order: Order) -> str:
    """Take the money; a real one would call the payment service with ``hf.current().idempotency_key``."""
    return f"receipt-{order.id}"


@app.step
async def send_mail(order: Order, receipt: str) -> str:
    """Tell the customer."""
    return f"sent {receipt} to {order.email}"


@app.workflow
async def fulfil(order: Order) -> str:
    """Charge, wait a moment, tell the customer."""
    receipt = await charge(order)
    await hf.sleep(0.5)
    return await send_mail(order, receipt)


@asynccontextmanager
async def lifespan(web: FastAPI) -> AsyncGenerator[None]:
    """The worker lives as long as the web application; at its end it hands back what it holds."""
    async with app.worker(), app.client() as client:
        web.state.client = client
        yield


web = FastAPI(title="A shop", lifespan=lifespan)


def client_of(request: Request) -> hf.Client:
    """The application's client, for the endpoints."""
    client: Any = request.app.state.client
    assert isinstance(client, hf.Client)
    return client


Client = Annotated[hf.Client, Depends(client_of)]


@web.post("/orders", status_code=202)
async def start_order(order: Order, client: Client) -> Progress:
    """Start an order. Repeating the request starts nothing new: the order's id is the key."""
    run = await client.start(fulfil, order, key=order.id)
    return await _progress(order.id, await run.get(), client)


@web.get("/orders/{order_id}")
async def show_order(order_id: str, client: Client) -> Progress:
    """Where an order is."""
    page = await client.list(workflow=fulfil.name, key=order_id, limit=1)
    if not page.runs:
        raise HTTPException(404, f"no order {order_id}")
    return await _progress(order_id, page.runs[0], client)


async def _progress(order: str, run: hf.Run, client: hf.Client) -> Progress:
    result = None
    if run.status is hf.RunStatus.COMPLETED:
        result = await client.wait_for_result(run.id, type_=str)
    return Progress(order=order, status=run.status.value, result=result, explanation=str(await client.explain(run.id)))
