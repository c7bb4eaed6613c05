-- Tell those who wait for these runs, as far as they have ended: close the waits, put parked waiters into the line.
-- A statement of its own after the one that locked the waiters.
-- Guard: the wait open, the waiter of the same tenant, unheld and not in the line.
-- Index: waits_open_child, primary keys.
-- Returns: one row per waiter: its id, and whether it was put into the line (else a worker holds it or it is there).
with ended as materialized (
    select w.shard, w.run_id, w.key, w.seq, c.result, c.error, c.status
      from unnest(%(ids)s::uuid[]) as e (id)
     cross join lateral (
           select o.shard, o.run_id, o.key, o.seq, o.child_id
             from holdfast.waits o
            where o.shard = %(shard)s::smallint and o.child_id = e.id and o.outcome is null
           offset 0) w
     cross join lateral (
           select r.tenant, r.result, r.error, r.status
             from holdfast.runs r
            where r.shard = w.shard and r.id = w.child_id and coalesce(r.finalized_ms, 0) > 0
            limit 1) c
     cross join lateral (
           select r.id
             from holdfast.runs r
            where r.shard = w.shard and r.id = w.run_id and r.tenant is not distinct from c.tenant
            limit 1) p
), heard as (
    update holdfast.waits w
       set outcome = 'child_ended', closed_ms = holdfast.now_ms(%(now_ms)s), result = e.result, error = e.error,
           child_status = e.status
      from (select m.* from (select o.* from ended o limit (select 1000000000)) m limit (select 1000000000)) e
     where w.shard = e.shard and w.run_id = e.run_id and w.key = e.key and coalesce(w.outcome, '') = ''
    returning w.shard, w.run_id, w.key, w.seq
), told as (
    select distinct on (h.run_id) h.shard, h.run_id, h.key from heard h order by h.run_id, h.seq, h.key
), moved as (
    update holdfast.runs r
       set status = case when r.status = 'waiting' then 'queued' else r.status end, status_reason = 'child_ended',
           wake_ms = null, ready_ms = holdfast.now_ms(%(now_ms)s), updated_ms = holdfast.now_ms(%(now_ms)s),
           transition_seq = r.transition_seq + 1
      from (select m.* from (select o.* from told o limit (select 1000000000)) m limit (select 1000000000)) t
     where r.shard = t.shard and r.id = t.run_id and r.worker is null and r.ready_ms is null
       and coalesce(r.status, '') in ('waiting', 'compensating')
    returning r.shard, r.id, r.status, r.epoch, r.transition_seq, r.updated_ms, t.key
), logged as (
    insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, key, epoch, at_ms)
    select m.shard, m.id, m.transition_seq, case when m.status = 'queued' then 'waiting' else m.status end,
           m.status, 'child_ended', m.key, m.epoch, m.updated_ms
      from moved m
)
select t.run_id, t.run_id in (select m.id from moved m) as ready from told t
