-- Hand back the runs that a worker holds by the record but not by its own knowledge: they stand in the line at once.
-- Guard: still held by the worker. Index: runs_held, primary key. Returns: one row, how many.
with held as materialized (
    select o.shard, o.id, o.status
      from (select h.id
              from (select r.id from holdfast.runs r where r.shard = %(shard)s::smallint and r.worker = %(worker)s offset 0) h
             where h.id not in (select k.id from unnest(%(known)s::uuid[]) as k (id))
             order by h.id) h
     cross join lateral (
           select r.shard, r.id, r.status
             from holdfast.runs r
            where r.shard = %(shard)s::smallint and r.id = h.id and coalesce(r.worker, '') = %(worker)s
              for no key update of r) o
), moved as (
    update holdfast.runs r
       set status = case when h.status = 'compensating' then h.status else 'queued' end, status_reason = 'drained',
           worker = null, wake_ms = null, ready_ms = holdfast.now_ms(%(now_ms)s),
           updated_ms = holdfast.now_ms(%(now_ms)s), transition_seq = r.transition_seq + 1
      from (select m.* from (select o.* from held o limit (select 1000000000)) m limit (select 1000000000)) h
     where r.shard = h.shard and r.id = h.id and r.worker = %(worker)s
    returning r.shard, r.id, r.status, r.transition_seq, r.epoch, r.updated_ms, h.status as from_status
), logged as (
    insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, worker, epoch, at_ms)
    select m.shard, m.id, m.transition_seq, m.from_status, m.status, 'drained', %(worker)s, m.epoch, m.updated_ms
      from moved m
)
select count(*) as moved from moved
