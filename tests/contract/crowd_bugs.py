"""Mistakes in SQL to plant: each takes one guard, lock or look out of the PostgreSQL store while its block lasts."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, LiteralString

import psycopg

from holdfast.store.postgres import session
from holdfast.store.postgres.statements import literal, statement
from holdfast.testing.sim.observe import replaced

NOTHING: Final = "select 0, null where false"


@dataclass(frozen=True)
class Bug:
    """Texts of statements, and what stands in their place; a definition of the database that is another then."""

    name: str
    changes: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict[str, tuple[tuple[str, str], ...]])
    ddl: str = ""

    def __str__(self) -> str:
        return self.name

    @contextmanager
    def planted(self, url: str) -> Generator[None, None, None]:
        """Have the store of this process, and this database, make the mistake."""
        if self.ddl:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(literal(self.ddl))
        texts: dict[str, LiteralString] = {name: self._mistaken(name) for name in self.changes}

        def mistaken(name: str) -> LiteralString:
            return texts[name] if name in texts else statement(name)

        with replaced(session, "statement", mistaken):
            yield

    def _mistaken(self, name: str) -> LiteralString:
        text: str = statement(name)
        for right, wrong in self.changes[name]:
            assert right in text, f"{name} does not say {right!r} any more"
            text = text.replace(right, wrong)
        return literal(text)


FENCE: Final = ("and r.epoch = l.epoch", "")
_FENCED: Final = ("commit_entries", "commit_end", "commit_attempts", "commit_waits", "commit_finish", "commit_park")

BUGS: Final = (
    Bug(
        "a run parks without looking at its waits again",
        {"commit_park": (("w.open < l.open_waits or o.cancelled as ready", "o.cancelled as ready"),)},
    ),
    Bug(
        "a child ends without waking its parent",
        {"close_child_waits": (("and coalesce(r.status, '') in ('waiting', 'compensating')", "and false"),)},
    ),
    Bug("a commit is not fenced by the epoch", dict.fromkeys(_FENCED, (FENCE,))),
    Bug(
        "a claim does not look again at the line of a run that it locked",
        {
            "claim_runs_few": (
                ("and (r.queue, r.code, r.suspect) is not distinct from (n.queue, n.code, n.suspect)", ""),
            )
        },
    ),
    Bug(
        "who waits for a child is not locked when it ends",
        {
            "lock_waiters": (("for no key update of r", ""),),
            "commit_lock": (("for no key update of r", ""),),
        },
    ),
    Bug(
        "a child that is about to be waited for is not locked",
        {"lock_children": (("for share of o", ""),), "commit_lock": (("for no key update of r", ""),)},
    ),
    Bug(
        "a signal is given to a second wait",
        {"commit_signals": (("and k.name = o.signal and k.consumed_ms is null", "and k.name = o.signal"),)},
    ),
    Bug(
        "limits are counted without a lock",
        ddl="""
        create or replace function holdfast.claim_rooms(
            limited_tenants text[], limited_queues holdfast.queues[], given_shard smallint)
        returns table (tenant text, queue text, room bigint) language sql rows 10 as $$
            select t.tenant, null::text, t.running_max - holdfast.count_held(t.tenant, given_shard)
              from holdfast.tenants t
             where t.tenant = any(limited_tenants) and t.running_max is not null
             union all
            select q.tenant, q.queue, q.running_max - holdfast.count_places(q.tenant, q.queue, given_shard)
              from unnest(limited_queues) l
              join holdfast.queues q on q.tenant = l.tenant and q.queue = l.queue
        $$
        """,
    ),
    Bug(
        "children are asked to be cancelled before they are locked",
        {"cancel_children_lock": (("for no key update of r", ""),)},
    ),
    Bug(
        "a kept signal does not wait for those who open waits",
        {
            "signal_gate": (("pg_advisory_xact_lock", "sign"),),
            "signal_gate_pass": (("pg_advisory_lock(f.gate), pg_advisory_unlock(f.gate)", "f.gate"),),
        },
    ),
    Bug(
        "a claim does not raise the epoch",
        {
            "claim_runs": (("epoch = r.epoch + 1", "epoch = r.epoch"),),
            "claim_runs_few": (("epoch = r.epoch + 1", "epoch = r.epoch"),),
        },
    ),
)
