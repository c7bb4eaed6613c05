"""No hot statement reads a whole table: not with many rows, and not with a plan made while there were none."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest

from holdfast.store.postgres.connection import Address
from holdfast.store.postgres.statements import statement
from holdfast.store.postgres.wall import lower_wall, raise_wall
from tests.postgres_server import as_role, make_login
from tests.unit.postgres_plans import nodes, plan_of, rows_read, scanned
from tests.unit.postgres_statements import STEPS, WITHOUT_ROWS

MANY_ROWS = {"retire_worker_runs", "release_unknown", "requeue_lost_lock", "signal_waiters", "breaker_waiters"}
"""Those that are about all runs of a worker, or all runs that wait for one signal."""


SMALL_TABLES = {"workers", "tenants", "queues", "pauses"}


def test_every_statement_has_its_plan_tested() -> None:
    found = {file.name.removesuffix(".sql") for file in (files("holdfast.store.postgres") / "queries").iterdir()}

    assert {name for name in found if "README" not in name} == WITHOUT_ROWS | set(STEPS)


def goes_astray(node: dict[str, Any]) -> bool:
    """Whether a run is looked for by another index than its primary key: among all that are held, say."""
    index: str = node.get("Index Name", "")
    if not index.startswith("runs_") or index == "runs_pkey":
        return False
    asked = [node.get(word, "") for word in ("Index Cond", "Filter", "Recheck Cond")]
    return node["Node Type"] == "Bitmap Index Scan" or any(re.search(r"\bid = ", condition) for condition in asked)


def takes_all(node: dict[str, Any]) -> bool:
    """Whether an index is read from end to end, or but for its shard: an index that was small when the plan was made.

    One row of it is no such reading: the next in a line, the one that is due first.
    """
    if "Index Name" not in node or node.get("Relation Name") in SMALL_TABLES:
        return False
    index_cond: str = node.get("Index Cond", "")
    return not index_cond or re.fullmatch(r"\((\w+\.)?shard = [^()]*\)", index_cond) is not None


def below_limits(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The nodes of a plan, without those of which only the first rows are taken."""
    yield plan
    for child in plan.get("Plans", []):
        is_first = plan["Node Type"] == "Limit" and child["Node Type"] not in {"Nested Loop", "Sort"}
        # Whether there is any.
        is_probe = child.get("Parent Relationship") == "InitPlan" and "Filter" not in child
        if not is_first and not is_probe:
            yield from below_limits(child)


@pytest.mark.requirement("fault-60")
@pytest.mark.parametrize("name", STEPS)
def test_a_hot_statement_reads_no_table_from_end_to_end(loaded: str, name: str) -> None:
    connection = Address(loaded, prepare=False).connect()

    assert scanned(connection, name, STEPS[name]) == set()
    connection.close()


@pytest.mark.requirement("fault-60")
@pytest.mark.parametrize("name", STEPS)
def test_a_plan_made_for_empty_tables_stays_good(empty: str, name: str) -> None:
    connection = Address(empty, prepare=True).connect()

    assert scanned(connection, name, STEPS[name]) == set()
    assert not [node for node in nodes(plan_of(connection, name, STEPS[name])) if goes_astray(node)]
    plan = plan_of(connection, name, STEPS[name])
    assert [(node["Index Name"], node.get("Filter")) for node in below_limits(plan) if takes_all(node)] == []
    connection.close()


@pytest.mark.requirement("fault-60", "promise-10")
def test_behind_the_wall_a_hot_statement_goes_by_the_same_indexes(loaded: str) -> None:
    raise_wall(loaded, settle_s=0)
    found: dict[str, set[str]] = {}
    for login, role, tenant, everyone in (
        ("holdfast_test_client", "holdfast_client", "default", ""),
        ("holdfast_test_worker", "holdfast_worker", "", "on"),
    ):
        make_login(loaded, login, role)
        connection = Address(as_role(loaded, login), prepare=False).connect()
        # Of a client there are no other tenants' rows to be seen, but many to be passed over.
        connection.execute("select set_config('holdfast.tenant', %s, false)", [tenant])
        connection.execute("select set_config('holdfast.all_tenants', %s, false)", [everyone])
        found |= {f"{role}: {name}": scanned(connection, name, params) for name, params in STEPS.items()}
        connection.close()
    lower_wall(loaded)

    assert {name: tables for name, tables in found.items() if tables} == {}


ROWS_READ_MAX = 2_000


@pytest.mark.requirement("fault-60", "C-55")
@pytest.mark.parametrize("name", STEPS)
def test_a_hot_statement_reads_few_rows_however_many_there_are(loaded: str, name: str) -> None:
    connection = Address(loaded, prepare=True).connect()
    connection.execute("begin")
    connection.execute("set local plan_cache_mode = force_generic_plan")

    found = connection.execute("explain (analyze, timing off, format json) " + statement(name), STEPS[name]).fetchone()

    assert found is not None
    read = sum(rows_read(node) for node in nodes(json.loads(found[0])[0]["Plan"]))
    connection.close()
    assert read <= (8_000 if name in MANY_ROWS else ROWS_READ_MAX)
