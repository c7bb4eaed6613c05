-- Take locked runs from their lost holders: a new epoch fences these at once.
-- A statement of its own after the one that locked the runs, so that it sees all that the lost leases recorded.
-- One that is set aside keeps its waits open: it may be released. Who is subscribed is told.
-- Guard: still held, by a worker without a lease. Index: primary keys.
-- Returns: one row per run: its id, and whether it was set aside.
with lost as materialized (
    select r.shard, r.id, r.epoch, r.status, r.worker, holdfast.now_ms(%(now_ms)s) as now_ms,
           case when (select true from holdfast.journal j
                       where j.shard = r.shard and j.run_id = r.id and j.epoch = r.epoch limit 1)
                  or (select true from holdfast.waits w
                       where w.shard = r.shard and w.run_id = r.id and w.epoch = r.epoch limit 1)
                  or (select true from holdfast.attempts a
                       where a.shard = r.shard and a.run_id = r.id and a.epoch = r.epoch limit 1)
                then 1 else r.crashes + 1 end as crashes
      from unnest(%(ids)s::uuid[]) as d (id)
     cross join lateral (
           select o.*
             from holdfast.runs o
            where o.shard = %(shard)s::smallint and o.id = d.id and o.status in ('running', 'compensating')
              and coalesce(o.worker, '') <> ''
            limit 1) r
     where not exists (select from holdfast.workers k
                        where k.id = r.worker and k.lease_until_ms > holdfast.now_ms(%(now_ms)s))
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
      from (select m.* from (select o.* from judged o limit (select 1000000000)) m limit (select 1000000000)) l
     where r.shard = l.shard and r.id = l.id and r.epoch = l.epoch and r.status = l.status
    returning r.shard, r.id, r.status, r.status_reason, r.epoch, r.transition_seq, r.updated_ms,
              l.status as from_status, l.worker, l.stuck,
              case when l.stuck then holdfast.tell_end(r, '[]'::json) end as told
), logged as (
    insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, worker, epoch, at_ms)
    select m.shard, m.id, m.transition_seq, m.from_status, m.status, m.status_reason, m.worker, m.epoch, m.updated_ms
      from moved m
)
select m.id, m.stuck from moved m order by m.id
