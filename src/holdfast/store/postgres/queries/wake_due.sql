-- Close the due waits of locked runs, and put the runs into the line.
-- A statement of its own after the one that locked the runs, so that it sees every wait they have.
-- Guard: still due. Index: primary keys, waits_open. Returns: one row, how many.
with woken as materialized (
    select r.shard, r.id, r.status, w.keys, w.keys is not null or r.is_delay as by_timer, holdfast.now_ms(%(now_ms)s) as now_ms
      from unnest(%(ids)s::uuid[]) as d (id)
     cross join lateral (
           select o.shard, o.id, o.status,
                  o.status = 'queued' and o.wake_ms is distinct from o.deadline_ms as is_delay
             from holdfast.runs o
            where o.shard = %(shard)s::smallint and o.id = d.id and coalesce(o.wake_ms <= holdfast.now_ms(%(now_ms)s), false)
              and o.status in ('queued', 'waiting', 'compensating')
            limit 1) r
     cross join lateral (
           select array_agg(f.key) as keys
             from holdfast.waits f
            where f.shard = r.shard and f.run_id = r.id and f.outcome is null
              and f.due_ms <= holdfast.now_ms(%(now_ms)s)) w
), closed as (
    update holdfast.waits w
       set outcome = 'elapsed', closed_ms = d.now_ms
      from (select m.*
              from (select o.shard, o.id, o.now_ms, k.key
                      from woken o
                     cross join unnest(o.keys) as k (key)
                     limit (select 1000000000)) m
             limit (select 1000000000)) d
     where w.shard = d.shard and w.run_id = d.id and w.key = d.key and coalesce(w.outcome, '') = ''
       and w.due_ms <= d.now_ms
), moved as (
    update holdfast.runs r
       set status = case when d.status = 'waiting' then 'queued' else d.status end,
           status_reason = case when d.by_timer then 'timer_elapsed' else 'deadline_exceeded' end,
           wake_ms = null, ready_ms = d.now_ms, updated_ms = d.now_ms, transition_seq = r.transition_seq + 1
      from (select m.* from (select o.* from woken o limit (select 1000000000)) m limit (select 1000000000)) d
     where r.shard = d.shard and r.id = d.id and coalesce(r.wake_ms <= d.now_ms, false) and r.status = d.status
    returning r.shard, r.id, r.status, r.status_reason, r.epoch, r.transition_seq, r.updated_ms, d.status as from_status
), logged as (
    insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, epoch, at_ms)
    select m.shard, m.id, m.transition_seq, m.from_status, m.status, m.status_reason, m.epoch, m.updated_ms
      from moved m
)
select count(*) as woken from moved
