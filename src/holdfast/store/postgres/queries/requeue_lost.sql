-- Take locked runs from their lost holders: a new epoch fences these at once.
-- A statement of its own after the one that locked the runs, so that it sees all that the lost leases recorded.
-- Guard: still held, by a worker without a lease. Index: primary keys, waits_open.
-- Returns: one row per run: its id, and whether it was set aside.
with lost as materialized (
    select r.id, r.epoch, r.status, r.worker, coalesce(%(now_ms)s::bigint, floor(extract(epoch from statement_timestamp()) * 1000)::bigint) as now_ms,
           case when exists (select from holdfast.journal j
                              where j.shard = %(shard)s::smallint and j.run_id = r.id and j.epoch = r.epoch)
                  or exists (select from holdfast.waits w
                              where w.shard = %(shard)s::smallint and w.run_id = r.id and w.epoch = r.epoch)
                  or exists (select from holdfast.attempts a
                              where a.shard = %(shard)s::smallint and a.run_id = r.id and a.epoch = r.epoch)
                then 1 else r.crashes + 1 end as crashes
      from holdfast.runs r
     where r.shard = %(shard)s::smallint and r.id = any(%(ids)s::uuid[])
       and r.status in ('running', 'compensating') and r.worker is not null
       and not exists (select from holdfast.workers k where k.id = r.worker and k.lease_until_ms > coalesce(%(now_ms)s::bigint, floor(extract(epoch from statement_timestamp()) * 1000)::bigint))
), judged as materialized (
    select l.*, l.crashes >= %(crashes_max)s::bigint as stuck from lost l
), moved as (
    update holdfast.runs r
       set status = case when l.stuck then 'stuck' when l.status = 'compensating' then l.status else 'queued' end,
           status_reason = case when l.stuck then 'worker_crashes' else 'worker_lost' end,
           terminal_reason = case when l.stuck then 'worker_crashes' end,
           worker = null, epoch = r.epoch + 1, crashes = l.crashes, suspect = l.crashes >= 2, wake_ms = null,
           ready_ms = case when not l.stuck then l.now_ms end,
           finalized_ms = case when l.stuck then l.now_ms end,
           updated_ms = l.now_ms, transition_seq = r.transition_seq + 1
      from judged l
     where r.shard = %(shard)s::smallint and r.id = l.id and r.epoch = l.epoch and r.status = l.status
    returning r.id, r.status, r.status_reason, r.epoch, r.transition_seq, r.updated_ms, l.status as from_status,
              l.worker, l.stuck
), closed as (
    update holdfast.waits w
       set outcome = 'cancelled', closed_ms = m.updated_ms
      from moved m
     where m.stuck and w.shard = %(shard)s::smallint and w.run_id = m.id and w.outcome is null
), logged as (
    insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, worker, epoch, at_ms)
    select %(shard)s::smallint, m.id, m.transition_seq, m.from_status, m.status, m.status_reason, m.worker, m.epoch,
           m.updated_ms
      from moved m
)
select m.id, m.stuck from moved m order by m.id
