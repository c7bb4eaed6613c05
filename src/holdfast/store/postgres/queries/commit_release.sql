-- Give leases back; the runs stand in the line at once, or are paused if that was asked, or stand aside for who wants to
-- move them.
-- Guard: held at the lease's epoch. Index: primary keys. Returns: one row, how many stand in the line.
with released as materialized (
    select o.*, l.reason, o.aside_until_ms is not null as standing
      from json_to_recordset(%(releases)s::json) as l (id uuid, epoch bigint, reason text)
     cross join lateral (
           select r.shard, r.id, r.epoch, r.status, r.worker,
                  r.pause_requested and not r.cancel_requested and r.status = 'running' as pausing,
                  case when r.aside_until_ms > holdfast.now_ms(%(now_ms)s) and r.status = 'running'
                        and not r.pause_requested and not r.cancel_requested
                       then least(r.aside_until_ms, r.deadline_ms) end as aside_until_ms
             from holdfast.runs r
            where r.shard = %(shard)s::smallint and r.id = l.id and r.epoch = l.epoch
              and coalesce(r.worker, '') <> ''
              and r.status in ('running', 'compensating')
            limit 1) o
), moved as (
    update holdfast.runs r
       set status = case when l.pausing then 'paused' when l.status = 'compensating' then l.status else 'queued' end,
           status_reason = case when l.pausing then 'paused' else l.reason end,
           worker = null, wake_ms = l.aside_until_ms,
           ready_ms = case when not l.pausing and not l.standing then holdfast.now_ms(%(now_ms)s) end,
           pause_requested = r.pause_requested and not l.pausing,
           updated_ms = holdfast.now_ms(%(now_ms)s), transition_seq = r.transition_seq + 1
      from (select m.* from (select o.* from released o limit (select 1000000000)) m limit (select 1000000000)) l
     where r.shard = l.shard and r.id = l.id and r.epoch = l.epoch and r.status = l.status
    returning r.shard, r.id, r.status, r.status_reason, r.epoch, r.transition_seq, r.updated_ms,
              l.status as from_status, l.worker, l.pausing or l.standing as absent
), logged as (
    insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, worker, epoch, at_ms)
    select m.shard, m.id, m.transition_seq, m.from_status, m.status, m.status_reason, m.worker, m.epoch, m.updated_ms
      from moved m
)
select count(*) filter (where not m.absent) as ready from moved m
