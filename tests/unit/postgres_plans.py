"""How PostgreSQL goes about a statement: its plan, and the rows that it reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from holdfast.store.postgres.connection import Address, Connection
from holdfast.store.postgres.session import planned_anew
from holdfast.store.postgres.statements import Params, literal, statement
from holdfast.store.rendering import text_of
from holdfast.store.search import Make

HOT_TABLES = {"runs", "journal", "waits", "attempts", "signals", "transitions", "subscriptions"}


def scanned(connection: Connection, name: str, params: Params) -> set[str]:
    """The hot tables that the statement's plan for any parameters reads from end to end."""
    plan = plan_of(connection, name, params)
    return {
        node["Relation Name"]
        for node in nodes(plan)
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in HOT_TABLES
    }


def plan_of(connection: Connection, name: str, params: Params) -> dict[str, Any]:
    connection.execute("set plan_cache_mode = force_generic_plan")
    found = connection.execute("explain (format json) " + statement(name), params).fetchone()
    assert found is not None
    plan: dict[str, Any] = json.loads(found[0])[0]["Plan"]
    return plan


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def rows_read(node: dict[str, Any]) -> float:
    if node.get("Relation Name") not in HOT_TABLES or "Scan" not in node["Node Type"]:
        return 0
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    rows: float = (node["Actual Rows"] + removed) * node["Actual Loops"]
    return rows


class Reader:
    """Executes listings, and keeps their plans."""

    def __init__(self, url: str) -> None:
        self.connection = Address(url, prepare=False).connect()
        self.plans: list[dict[str, Any]] = []
        self.pages = 0
        """Pages of 8 KiB that were looked at."""

    def __call__(self, make: Make, shape: tuple[Any, ...], values: Params) -> list[Any]:
        text, constants = text_of(make, "postgresql", *shape)
        cursor = planned_anew(self.connection)
        explain = literal("explain (analyze, buffers, timing off, format json) " + text)
        found = cursor.execute(explain, constants | values).fetchone()
        assert found is not None
        plan = json.loads(found[0])[0]["Plan"]
        self.plans += nodes(plan)
        self.pages += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        return cursor.execute(literal(text), constants | values).fetchall()

    def sorted_rows(self) -> float:
        """The most rows that were sorted at once."""
        sorts = [node for node in self.plans if "Sort" in node["Node Type"]]
        return max((max(below["Actual Rows"] for below in node["Plans"]) for node in sorts), default=0)

    def scanned(self) -> set[str]:
        """The tables that were read from end to end."""
        return {node["Relation Name"] for node in self.plans if node["Node Type"] == "Seq Scan"}

    def rows_read(self) -> float:
        """How many rows were looked at."""
        return sum(map(rows_read, self.plans))
