"""The many rows among which plans are tested."""

from __future__ import annotations

from typing import Any

import psycopg

SIZE = 100_000

_LOAD = """
insert into holdfast.runs (
       shard, id, tenant, workflow, queue, status, status_reason, input, root_id, worker, epoch, created_ms, updated_ms,
       transition_seq, ready_ms, wake_ms, finalized_ms, suspect, key, parent_id, error_type, error_message,
       error_fingerprint)
select 0, ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'default', 'order', 'default',
       case n %% 10 when 0 then 'queued' when 1 then 'waiting' when 2 then 'running' else 'completed' end, 'x', '{}',
       gen_random_uuid(), case n %% 10 when 2 then 'worker-' || n %% 7 end, 1, n, n, 1,
       case n %% 10 when 0 then n end, case n %% 10 when 1 then n * 100 end, case when n %% 10 > 2 then n end,
       n %% 1000 = 0, 'key-' || n,
       case when n %% 5 = 0 then ('00000000-0000-7000-8000-' || lpad(to_hex(n / 1000), 12, '0'))::uuid end,
       case when n %% 100 > 97 then 'ValueError' end, case when n %% 100 > 97 then 'no route' end,
       case when n %% 100 > 97 then 'f' || n %% 3 end
  from generate_series(1, %(size)s) n;
"""
_LOAD_CHAINS = """
update holdfast.runs
   set chain_id = ('00000000-0000-7000-8000-' || lpad(to_hex(created_ms - mod(created_ms, 100)), 12, '0'))::uuid,
       link = mod(created_ms, 100) + 1,
       continued_as_id = case when status = 'completed' then
           ('00000000-0000-7000-8000-' || lpad(to_hex(created_ms + 1), 12, '0'))::uuid end
 where mod(created_ms, 1000) < 300 and status <> 'running'
"""
LOAD_WORKERS = """
insert into holdfast.workers (id, queues, codes, host, pid, version, started_ms, heartbeat_ms, lease_until_ms)
values ('claimant', '{default}', '{order}', 'box', 1, '', 1, 1, 9000000000000)
"""
_LOAD_WAITS = """
insert into holdfast.waits (
       shard, run_id, key, seq, kind, signal, child_id, due_ms, epoch, opened_ms, outcome, closed_ms, tenant)
select 0, id, 'w', 1, 'signal', 's' || mod(created_ms, 50), id, wake_ms, 1, 1,
       case when status = 'completed' then 'elapsed' end, case when status = 'completed' then 1 end, 'default'
  from holdfast.runs
"""
_LOAD_JOURNAL = """
insert into holdfast.journal (
       shard, run_id, key, seq, kind, name, status, attempts, epoch, started_ms, completed_ms)
select 0, id, 'k', 1, 'step', 'k', 'completed', 1, 1, 1, 1 from holdfast.runs
"""

_LOAD_ATTEMPTS = """
insert into holdfast.attempts (shard, run_id, key, attempt, error, epoch, started_ms, ended_ms)
select 0, id, 'k', 1, '{}', 1, 1, 1 from holdfast.runs
"""
_LOAD_TRANSITIONS = """
insert into holdfast.transitions (shard, run_id, seq, to_status, reason, epoch, at_ms)
select 0, id, 1, 'queued', 'started', 0, created_ms from holdfast.runs
"""
_LOAD_ATTRIBUTES = """
insert into holdfast.attributes (shard, run_id, name, tenant, kind, number, created_ms)
select 0, id, 'customer', 'default', 'number', mod(created_ms, 7), created_ms from holdfast.runs
"""
_LOAD_APPROVALS = """
insert into holdfast.waits (shard, run_id, key, seq, kind, epoch, opened_ms, tenant, request)
select 0, id, 'approval', 2, 'approval', 1, created_ms, 'default', '{}' from holdfast.runs where status = 'waiting'
"""
_LOAD_SIGNALS = """
insert into holdfast.signals (shard, id, tenant, name, run_id, payload, sent_ms, consumed_ms, expires_ms, passed)
select 0, id, 'default', 's' || mod(created_ms, 50), id, '{}', 1, case when status = 'completed' then 1 end,
       created_ms + 6000000, case when mod(created_ms, 1000) = 1 then id end
  from holdfast.runs
"""
_LOAD_SUBSCRIPTIONS = """
insert into holdfast.subscriptions (tenant, workflow, name, created_ms)
select 't' || n %% 20000, 'w' || n %% 7, 'r' || n, 1 from generate_series(1, %(size)s) n
"""


def fill(connection: psycopg.Connection[Any]) -> None:
    """Many runs, a tenth of them claimable, a tenth parked, a tenth held, and what belongs to them."""
    connection.execute(_LOAD, {"size": SIZE})
    connection.execute(_LOAD_SUBSCRIPTIONS, {"size": SIZE})
    for statement in (
        _LOAD_CHAINS,
        LOAD_WORKERS,
        _LOAD_WAITS,
        _LOAD_JOURNAL,
        _LOAD_ATTEMPTS,
        _LOAD_SIGNALS,
        _LOAD_ATTRIBUTES,
        _LOAD_TRANSITIONS,
        _LOAD_APPROVALS,
    ):
        connection.execute(statement)
    connection.execute("vacuum analyze")
