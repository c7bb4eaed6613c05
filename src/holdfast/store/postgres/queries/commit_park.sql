-- Give back the leases of runs that only wait. One with fewer open waits than its worker believes goes on at once, and
-- so does one that is to be cancelled: its worker may not have heard of it. One that is to be paused is paused.
-- A statement of its own after the one that locked the runs: every wait that others closed is seen here, and who
-- closes one later waits for the lock and finds the run parked.
-- Guard: held at the lease's epoch. Index: primary keys, waits_open.
-- Returns: one row, how many are claimable at once.
with parked as materialized (
    select o.*, w.due_ms, w.open < l.open_waits or o.cancelled as ready, holdfast.now_ms(%(now_ms)s) as now_ms
      from json_to_recordset(%(parks)s::json) as l (id uuid, epoch bigint, open_waits bigint)
     cross join lateral (
           select r.shard, r.id, r.epoch, r.status, r.worker, r.deadline_ms,
                  r.cancel_requested and r.status = 'running' as cancelled,
                  r.pause_requested and not r.cancel_requested and r.status = 'running' as pausing
             from holdfast.runs r
            where r.shard = %(shard)s::smallint and r.id = l.id and r.epoch = l.epoch
              and coalesce(r.worker, '') <> ''
              and r.status in ('running', 'compensating')
            limit 1) o
     cross join lateral (
           select count(*) as open, min(f.due_ms) as due_ms
             from holdfast.waits f
            where f.shard = o.shard and f.run_id = o.id and f.outcome is null) w
), moved as (
    update holdfast.runs r
       set status = case when p.pausing then 'paused' when p.status = 'compensating' then p.status
                         when p.ready then 'queued' else 'waiting' end,
           status_reason = case when p.pausing then 'paused' else 'waiting' end,
           pause_requested = r.pause_requested and not p.pausing, worker = null, crashes = 0, suspect = false,
           updated_ms = p.now_ms,
           ready_ms = case when p.ready and not p.pausing then p.now_ms end,
           wake_ms = case when not p.ready and not p.pausing then least(p.due_ms, p.deadline_ms) end,
           transition_seq = r.transition_seq + 1
      from (select m.* from (select o.* from parked o limit (select 1000000000)) m limit (select 1000000000)) p
     where r.shard = p.shard and r.id = p.id and r.epoch = p.epoch and r.status = p.status
    returning r.shard, r.id, r.status, r.epoch, r.transition_seq, r.updated_ms,
              p.status as from_status, p.worker, p.ready and not p.pausing as ready, r.status_reason
), logged as (
    insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, worker, epoch, at_ms)
    select m.shard, m.id, m.transition_seq, m.from_status, m.status, m.status_reason, m.worker, m.epoch, m.updated_ms
      from moved m
)
select count(*) filter (where m.ready) as ready from moved m
