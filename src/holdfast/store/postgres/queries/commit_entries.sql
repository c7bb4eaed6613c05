-- Fence a batch and write its journal entries.
-- Guard: each run is held at its lease's epoch, in a status from which its move is legal. Locks the run's row, in the
-- order of ids, until the commit: a take-over waits for it, or has raised the epoch before.
-- Index: primary keys. Returns: one row: the time, the refused runs with the reason, and those to be cancelled.
with leases as materialized (
    select l.* from json_to_recordset(%(leases)s::json) as l (id uuid, epoch bigint, running boolean) order by l.id
), owned as materialized (
    select o.id, o.cancel_requested
      from leases l
     cross join lateral (
           select r.id, r.cancel_requested
             from holdfast.runs r
            where r.shard = %(shard)s::smallint and r.id = l.id and r.epoch = l.epoch
              and coalesce(r.worker, '') <> ''
              and (r.status = 'running' or (r.status = 'compensating' and not l.running))
              for no key update of r) o
), recorded as (
    insert into holdfast.journal (
           shard, run_id, key, seq, kind, name, status, result, error, fingerprint, input, attempts, epoch, started_ms,
           completed_ms)
    select %(shard)s::smallint, e.run_id, e.key, e.seq, e.kind, e.name, e.status, e.result, e.error, e.fingerprint,
           e.input, e.attempts, e.epoch, e.started_ms, e.completed_ms
      from json_to_recordset(%(entries)s::json) as e (
           run_id uuid, key text, seq bigint, kind text, name text, status text, result json, error json,
           fingerprint text, input json, attempts integer, epoch bigint, started_ms bigint, completed_ms bigint)
      join owned o on o.id = e.run_id
)
select holdfast.now_ms(%(now_ms)s) as now_ms,
       case when (select count(*) from owned) < (select count(*) from leases)
            then holdfast.refused_leases(
                     %(leases)s::json, %(shard)s::smallint, array(select o.id from owned o)) end as refused,
       (select json_agg(o.id) from owned o where o.cancel_requested) as cancel_requested
