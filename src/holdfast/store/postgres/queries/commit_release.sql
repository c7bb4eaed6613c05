-- Give leases back; the runs stand in the line at once.
-- Guard: held at the lease's epoch. Index: primary keys. Returns: one row, how many.
with released as materialized (
    select o.*, l.reason
      from json_to_recordset(%(releases)s::json) as l (id uuid, epoch bigint, reason text)
     cross join lateral (
           select r.shard, r.id, r.epoch, r.status, r.worker
             from holdfast.runs r
            where r.shard = %(shard)s::smallint and r.id = l.id and r.epoch = l.epoch
              and r.worker is not null
              and r.status in ('running', 'compensating')
            limit 1) o
), moved as (
    update holdfast.runs r
       set status = case when l.status = 'compensating' then l.status else 'queued' end, status_reason = l.reason,
           worker = null, wake_ms = null, ready_ms = holdfast.now_ms(%(now_ms)s),
           updated_ms = holdfast.now_ms(%(now_ms)s), transition_seq = r.transition_seq + 1
      from (select m.* from (select o.* from released o limit (select 1000000000)) m limit (select 1000000000)) l
     where r.shard = l.shard and r.id = l.id and r.epoch = l.epoch and r.status = l.status
    returning r.shard, r.id, r.status, r.status_reason, r.epoch, r.transition_seq, r.updated_ms,
              l.status as from_status, l.worker
), logged as (
    insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, worker, epoch, at_ms)
    select m.shard, m.id, m.transition_seq, m.from_status, m.status, m.status_reason, m.worker, m.epoch, m.updated_ms
      from moved m
)
select count(*) as ready from moved m
