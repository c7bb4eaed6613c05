"""A worker inside a web application's lifespan."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import holdfast as hf
from examples import fastapi_app

ORDER = {"id": "42", "email": "ann@example.org"}


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastapi_app.app, "database", f"sqlite:///{tmp_path / 'shop.db'}")


@asynccontextmanager
async def serving() -> AsyncGenerator[tuple[httpx.AsyncClient, hf.Client]]:
    """The application, between its start and its end."""
    web = fastapi_app.web
    async with (
        web.router.lifespan_context(web),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=web), base_url="http://shop") as browser,
    ):
        client: Any = web.state.client
        yield browser, client


async def order_run(client: hf.Client) -> hf.Run:
    (run,) = (await client.list(key="42")).runs
    return run


@pytest.mark.requirement("S-01", "S-02")
def test_an_order_is_posted_and_executed_by_the_web_application_itself() -> None:
    async def scenario() -> None:
        async with serving() as (browser, client):
            posted = await browser.post("/orders", json=ORDER)
            again = await browser.post("/orders", json=ORDER)
            assert (posted.status_code, again.status_code) == (202, 202)
            await client.wait_for_end((await order_run(client)).id, timeout=20)

            shown = (await browser.get("/orders/42")).json()

            assert (shown["status"], shown["result"]) == ("completed", "sent receipt-42 to ann@example.org")
            assert (await browser.get("/orders/43")).status_code == 404

    asyncio.run(scenario())


@pytest.mark.requirement("promise-1", "S-15")
def test_an_order_goes_on_after_the_web_application_was_restarted() -> None:
    async def scenario() -> None:
        async with serving() as (browser, client):
            assert (await browser.post("/orders", json=ORDER)).status_code == 202
        async with serving() as (browser, client):
            await client.wait_for_end((await order_run(client)).id, timeout=20)

            shown = (await browser.get("/orders/42")).json()

            assert shown["result"] == "sent receipt-42 to ann@example.org"

    asyncio.run(scenario())
