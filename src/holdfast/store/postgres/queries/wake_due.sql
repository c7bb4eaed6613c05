-- Close the due waits of locked runs, and put the runs into the line.
-- A statement of its own after the one that locked the runs, so that it sees every wait they have.
-- Guard: still due. Index: primary keys, waits_open. Returns: one row, how many.
with closed as (
    update holdfast.waits w
       set outcome = 'elapsed', closed_ms = coalesce(%(now_ms)s::bigint, floor(extract(epoch from statement_timestamp()) * 1000)::bigint)
     where w.shard = %(shard)s::smallint and w.run_id = any(%(ids)s::uuid[]) and w.outcome is null and w.due_ms <= coalesce(%(now_ms)s::bigint, floor(extract(epoch from statement_timestamp()) * 1000)::bigint)
    returning w.run_id
), due as (
    select distinct c.run_id from closed c
), moved as (
    update holdfast.runs r
       set status = case when r.status = 'waiting' then 'queued' else r.status end,
           status_reason = case when o.status = 'queued' or exists (select from due d where d.run_id = o.id)
                                then 'timer_elapsed' else 'deadline_exceeded' end,
           wake_ms = null, ready_ms = coalesce(%(now_ms)s::bigint, floor(extract(epoch from statement_timestamp()) * 1000)::bigint), updated_ms = coalesce(%(now_ms)s::bigint, floor(extract(epoch from statement_timestamp()) * 1000)::bigint), transition_seq = r.transition_seq + 1
      from holdfast.runs o
     where o.shard = %(shard)s::smallint and o.id = any(%(ids)s::uuid[]) and o.wake_ms <= coalesce(%(now_ms)s::bigint, floor(extract(epoch from statement_timestamp()) * 1000)::bigint)
       and r.shard = %(shard)s::smallint and r.id = o.id and r.wake_ms <= coalesce(%(now_ms)s::bigint, floor(extract(epoch from statement_timestamp()) * 1000)::bigint)
       and r.status in ('queued', 'waiting', 'compensating')
    returning r.id, r.status, r.status_reason, r.epoch, r.transition_seq, r.updated_ms, o.status as from_status
), logged as (
    insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, epoch, at_ms)
    select %(shard)s::smallint, m.id, m.transition_seq, m.from_status, m.status, m.status_reason, m.epoch, m.updated_ms
      from moved m
)
select count(*) as woken from moved
