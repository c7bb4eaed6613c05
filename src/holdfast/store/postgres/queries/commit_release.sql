-- Give leases back; the runs stand in the line at once.
-- Guard: held at the lease's epoch. Index: primary keys. Returns: one row, how many.
with moved as (
    update holdfast.runs r
       set status = case when o.status = 'compensating' then o.status else 'queued' end, status_reason = l.reason,
           worker = null, wake_ms = null, ready_ms = coalesce(%(now_ms)s::bigint, floor(extract(epoch from statement_timestamp()) * 1000)::bigint), updated_ms = coalesce(%(now_ms)s::bigint, floor(extract(epoch from statement_timestamp()) * 1000)::bigint), transition_seq = r.transition_seq + 1
      from json_to_recordset(%(releases)s::json) as l (id uuid, epoch bigint, reason text)
      join holdfast.runs o
        on o.shard = %(shard)s::smallint and o.id = l.id and o.epoch = l.epoch
       and o.status in ('running', 'compensating')
     where r.shard = %(shard)s::smallint and r.id = l.id and r.epoch = l.epoch and r.status = o.status
    returning r.id, r.status, r.status_reason, r.epoch, r.transition_seq, r.updated_ms, o.status as from_status,
              o.worker
), logged as (
    insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, worker, epoch, at_ms)
    select %(shard)s::smallint, m.id, m.transition_seq, m.from_status, m.status, m.status_reason, m.worker, m.epoch,
           m.updated_ms
      from moved m
)
select count(*) as ready from moved m
