-- Turn runs that failed for good to their compensations. The lease stays.
-- Guard: running at the lease's epoch. Index: primary keys. Returns: nothing.
with moved as (
    update holdfast.runs r
       set status = 'compensating', status_reason = l.reason, error = l.error, updated_ms = holdfast.now_ms(%(now_ms)s),
           transition_seq = r.transition_seq + 1
      from (select m.*, %(shard)s::smallint as shard
              from (select j.*
                      from json_to_recordset(%(compensations)s::json) as j (
                           id uuid, epoch bigint, reason text, error json)
                     limit (select 1000000000)) m
             limit (select 1000000000)) l
     where r.shard = l.shard and r.id = l.id and r.epoch = l.epoch and coalesce(r.worker, '') <> ''
       and r.status = 'running'
    returning r.shard, r.id, r.status_reason, r.worker, r.epoch, r.transition_seq, r.updated_ms
)
insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, worker, epoch, at_ms)
select m.shard, m.id, m.transition_seq, 'running', 'compensating', m.status_reason, m.worker, m.epoch, m.updated_ms
  from moved m
