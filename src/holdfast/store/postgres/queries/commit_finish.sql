-- End runs: status, result, open waits and transition together.
-- Guard: held at the lease's epoch, in a status that may end so. Index: primary keys, waits_open. Returns: nothing.
with moved as (
    update holdfast.runs r
       set status = l.status, status_reason = l.status, terminal_reason = l.reason, result = l.result, error = l.error,
           worker = null, ready_ms = null, wake_ms = null, crashes = 0, suspect = false, updated_ms = coalesce(%(now_ms)s::bigint, floor(extract(epoch from statement_timestamp()) * 1000)::bigint),
           finalized_ms = coalesce(%(now_ms)s::bigint, floor(extract(epoch from statement_timestamp()) * 1000)::bigint), transition_seq = r.transition_seq + 1
      from json_to_recordset(%(finishes)s::json) as l (
           id uuid, epoch bigint, running boolean, status text, reason text, result json, error json)
      join holdfast.runs o
        on o.shard = %(shard)s::smallint and o.id = l.id and o.epoch = l.epoch
       and (o.status = 'running' or (o.status = 'compensating' and not l.running))
     where r.shard = %(shard)s::smallint and r.id = l.id and r.epoch = l.epoch and r.status = o.status
    returning r.id, r.status, r.epoch, r.transition_seq, r.finalized_ms, o.status as from_status, o.worker
), closed as (
    update holdfast.waits w
       set outcome = 'cancelled', closed_ms = m.finalized_ms
      from moved m
     where w.shard = %(shard)s::smallint and w.run_id = m.id and w.outcome is null
)
insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, worker, epoch, at_ms)
select %(shard)s::smallint, m.id, m.transition_seq, m.from_status, m.status, m.status, m.worker, m.epoch, m.finalized_ms
  from moved m
