-- Hand back the runs that a worker holds by the record but not by its own knowledge: they stand in the line at once.
-- Guard: still held by the worker. Index: runs_held. Returns: one row, how many.
with held as materialized (
    select r.id, r.status
      from holdfast.runs r
     where r.shard = %(shard)s::smallint and r.worker = %(worker)s
       and not exists (select from unnest(%(known)s::uuid[]) as k (id) where k.id = r.id)
     order by r.id
       for no key update of r
), moved as (
    update holdfast.runs r
       set status = case when h.status = 'compensating' then 'compensating' else 'queued' end,
           status_reason = 'drained', worker = null, wake_ms = null,
           ready_ms = coalesce(%(now_ms)s::bigint, floor(extract(epoch from statement_timestamp()) * 1000)::bigint), updated_ms = coalesce(%(now_ms)s::bigint, floor(extract(epoch from statement_timestamp()) * 1000)::bigint), transition_seq = r.transition_seq + 1
      from held h
     where r.shard = %(shard)s::smallint and r.id = h.id and r.worker = %(worker)s and r.status = h.status
    returning r.id, r.status, r.transition_seq, r.epoch, r.updated_ms, h.status as from_status
), logged as (
    insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, worker, epoch, at_ms)
    select %(shard)s::smallint, m.id, m.transition_seq, m.from_status, m.status, 'drained', %(worker)s, m.epoch,
           m.updated_ms
      from moved m
)
select count(*) as moved from moved
