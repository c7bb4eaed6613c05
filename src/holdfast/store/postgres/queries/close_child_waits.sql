-- Tell those who wait for these runs, as far as they have ended: close the waits, put parked waiters into the line.
-- A statement of its own after the one that locked the waiters.
-- Guard: the wait open, the waiter of the same tenant, unheld and not in the line. Index: waits_open_child, primary keys.
-- Returns: one row per waiter: its id, and whether it was put into the line (else a worker holds it or it is there).
with heard as (
    update holdfast.waits w
       set outcome = 'child_ended', closed_ms = coalesce(%(now_ms)s::bigint, floor(extract(epoch from statement_timestamp()) * 1000)::bigint), result = c.result, error = c.error, child_status = c.status
      from holdfast.runs c, holdfast.runs p
     where c.shard = %(shard)s::smallint and c.id = any(%(ids)s::uuid[]) and c.finalized_ms is not null
       and w.shard = %(shard)s::smallint and w.child_id = c.id and w.outcome is null
       and p.shard = %(shard)s::smallint and p.id = w.run_id and p.tenant = c.tenant
    returning w.run_id, w.key, w.seq
), told as (
    select distinct on (h.run_id) h.run_id, h.key from heard h order by h.run_id, h.seq, h.key
), moved as (
    update holdfast.runs r
       set status = case when r.status = 'waiting' then 'queued' else r.status end, status_reason = 'child_ended',
           wake_ms = null, ready_ms = coalesce(%(now_ms)s::bigint, floor(extract(epoch from statement_timestamp()) * 1000)::bigint), updated_ms = coalesce(%(now_ms)s::bigint, floor(extract(epoch from statement_timestamp()) * 1000)::bigint), transition_seq = r.transition_seq + 1
      from told t
     where r.shard = %(shard)s::smallint and r.id = t.run_id and r.worker is null and r.ready_ms is null
       and r.status in ('waiting', 'compensating')
    returning r.id, r.status, r.epoch, r.transition_seq, r.updated_ms, t.key
), logged as (
    insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, key, epoch, at_ms)
    select %(shard)s::smallint, m.id, m.transition_seq, case when m.status = 'queued' then 'waiting' else m.status end,
           m.status, 'child_ended', m.key, m.epoch, m.updated_ms
      from moved m
)
select t.run_id, exists (select from moved m where m.id = t.run_id) as ready from told t
