-- Close waits of locked runs for a breaker, and put parked runs into the line. Rows: run id, wait key.
-- A statement of its own after the one that locked the runs, so that it sees how they are.
-- Guard: the wait open; the run unheld and not in the line. Index: primary keys.
-- Returns: one row per wait that was closed, in their order: the run's id, whether it is in the line now,
-- whether a worker holds it.
with pairs as materialized (
    select r.shard, l.id as run_id, l.key, l.place, r.held
      from rows from (json_to_recordset(%(pairs)s::json) as (id uuid, key text)) with ordinality as l (id, key, place)
     cross join lateral (
           select o.shard, o.worker is not null as held
             from holdfast.runs o
            where o.shard = %(shard)s::smallint and o.id = l.id
            limit 1) r
), passed as (
    update holdfast.waits w
       set outcome = 'elapsed', closed_ms = holdfast.now_ms(%(now_ms)s)
      from (select m.* from (select o.* from pairs o limit (select 1000000000)) m limit (select 1000000000)) f
     where w.shard = f.shard and w.run_id = f.run_id and w.key = f.key and coalesce(w.outcome, '') = ''
    returning w.shard, w.run_id, w.key, f.place, f.held
), told as (
    select distinct on (p.run_id) p.shard, p.run_id, p.key
      from passed p
     order by p.run_id, p.place
), moved as (
    update holdfast.runs r
       set status = case when r.status = 'waiting' then 'queued' else r.status end, status_reason = 'breaker_passed',
           wake_ms = null, ready_ms = holdfast.now_ms(%(now_ms)s), updated_ms = holdfast.now_ms(%(now_ms)s),
           transition_seq = r.transition_seq + 1
      from (select m.* from (select o.* from told o limit (select 1000000000)) m limit (select 1000000000)) t
     where r.shard = t.shard and r.id = t.run_id and r.worker is null and r.ready_ms is null
       and coalesce(r.status, '') in ('waiting', 'compensating')
    returning r.shard, r.id, r.status, r.epoch, r.transition_seq, r.updated_ms, t.key
), logged as (
    insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, key, epoch, at_ms)
    select m.shard, m.id, m.transition_seq, case when m.status = 'queued' then 'waiting' else m.status end,
           m.status, 'breaker_passed', m.key, m.epoch, m.updated_ms
      from moved m
)
select p.run_id, p.run_id in (select m.id from moved m) as ready, p.held from passed p order by p.place
