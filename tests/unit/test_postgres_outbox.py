"""Looking for the ends of runs reads no table from end to end, however many wait."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, cast

import psycopg
import pytest
from sqlalchemy.sql.base import Executable

from holdfast.model.ids import DEFAULT_TENANT, Tenant, UnixMs
from holdfast.store.outbox import Outbox
from holdfast.store.postgres.statements import literal
from holdfast.store.rendering import render
from tests.contract.scene import run_id
from tests.postgres_stage import migrated_database
from tests.unit.postgres_plans import nodes

_LOAD = """
insert into holdfast.outbox (
       shard, run_id, seq, subscription, tenant, workflow, status, reason, failed, ended_ms)
select 0, gen_random_uuid(), 1, 'r' || n % 50, 'default', 'order', 'completed', 'completed', '[]', n
  from generate_series(1, 20000) n
"""


@pytest.fixture
def full(postgres_server_url: str, postgres_template: str) -> Generator[str, None, None]:
    """A database with many ends that nobody has acknowledged."""
    with migrated_database(postgres_server_url, postgres_template) as url:
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            connection.execute(_LOAD)
            connection.execute("vacuum analyze holdfast.outbox")
        yield url


@pytest.mark.requirement("B-54", "fault-60")
@pytest.mark.parametrize("tenant", [DEFAULT_TENANT, None])
def test_ends_are_looked_for_by_an_index_however_many_wait(full: str, tenant: Tenant | None) -> None:
    rendered: list[tuple[str, dict[str, Any]]] = []

    class Seen:
        now_ms = UnixMs(5_000_000)

        def rows(self, asked: Executable) -> list[Any]:
            rendered.append(render(asked, "postgresql"))
            return [(run_id(1), 1)] if len(rendered) < 3 else []

        def changed(self, asked: Executable) -> int:
            raise AssertionError(asked)

    class Store:
        def transact(self, _tenant: Tenant | None, work: Callable[[Seen], Any], *, read_only: bool = False) -> Any:
            assert read_only is (not rendered)
            return work(Seen())

    Outbox(cast("Any", Store())).claim(tenant, ["r1"], limit=20, lease_ms=1)

    assert len(rendered) == 3
    for text, params in rendered:
        with closing(psycopg.connect(full)) as connection:
            found = connection.execute(literal("explain (format json) " + text), params).fetchone()
        assert found is not None
        plan: dict[str, Any] = found[0][0]["Plan"]
        assert not [node for node in nodes(plan) if node["Node Type"] == "Seq Scan"], text
