-- Ask for the children of cancelled runs to be cancelled, as each one's policy has it, and put the unheld into the line.
-- Their own children follow when they end.
-- A statement of its own after the one that locked the children: how each of them stands now is seen here.
-- Guard: the parent is cancelled, or undoes what it did before it is; the child has not ended and was not asked before.
-- Index: primary key, runs_children. Locks a parent's children in the order of ids.
-- Returns: one row per child: its id, whether it can be claimed now, whether a worker holds it.
with doomed as materialized (
    select o.*, p.compensates or o.parent_policy = 'request' as undoes, holdfast.now_ms(%(now_ms)s) as now_ms
      from unnest(%(ids)s::uuid[]) as e (id)
     cross join lateral (
           select r.id, r.cancel_compensates as compensates
             from holdfast.runs r
            where r.shard = %(shard)s::smallint and r.id = e.id
              and (r.status = 'cancelled' or (r.status = 'compensating' and r.cancel_requested))
            limit 1) p
     cross join lateral (
           select r.shard, r.id, r.status, r.worker, r.parent_policy
             from holdfast.runs r
            where r.shard is not distinct from %(shard)s::smallint and r.parent_id = p.id and r.finalized_ms is null
              and r.parent_policy <> 'abandon' and not r.cancel_requested
            order by r.id
              for no key update of r) o
), moved as (
    update holdfast.runs r
       set status = case when d.status in ('waiting', 'paused') then 'queued' else d.status end,
           status_reason = 'cancel_requested', cancel_requested = true,
           cancel_compensates = d.undoes and d.status <> 'compensating', pause_requested = false, kept_wake_ms = null,
           barred_by = null,
           ready_ms = case when d.worker is null and d.status <> 'compensating'
                           then coalesce(r.ready_ms, d.now_ms) else r.ready_ms end,
           wake_ms = case when d.status = 'compensating' then r.wake_ms end,
           updated_ms = d.now_ms, transition_seq = r.transition_seq + 1
      from (select m.* from (select o.* from doomed o limit (select 1000000000)) m limit (select 1000000000)) d
     where r.shard = d.shard and r.id = d.id and r.status = d.status
    returning r.shard, r.id, r.status, r.worker, r.ready_ms, r.epoch, r.transition_seq, r.updated_ms,
              d.status as from_status
), logged as (
    insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, worker, epoch, at_ms)
    select m.shard, m.id, m.transition_seq, m.from_status, m.status, 'cancel_requested', m.worker, m.epoch, m.updated_ms
      from moved m
)
select m.id, m.ready_ms is not null as ready, m.worker is not null as held from moved m order by m.id
