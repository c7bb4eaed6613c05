-- End runs: status, result, open waits and transition together, and what those hear of it who are subscribed. One that
-- is set aside keeps its waits open: it may be released.
-- Guard: held at the lease's epoch, in a status that may end so. Index: primary keys, waits_open. Returns: nothing.
with ending as materialized (
    select o.*, l.status as to_status, l.reason, l.result, l.error, l.error_type, l.error_message, l.error_fingerprint,
           case when l.status = 'stuck' then l.reason else l.status end as word
      from json_to_recordset(%(finishes)s::json) as l (
           id uuid, epoch bigint, running boolean, status text, reason text, result json, error json,
           error_type text, error_message text, error_fingerprint text)
     cross join lateral (
           select r.shard, r.id, r.epoch, r.status, r.worker
             from holdfast.runs r
            where r.shard = %(shard)s::smallint and r.id = l.id and r.epoch = l.epoch
              and coalesce(r.worker, '') <> ''
              and (r.status = 'running' or (r.status = 'compensating' and not l.running))
            limit 1) o
), moved as (
    update holdfast.runs r
       set status = e.to_status, status_reason = e.word, terminal_reason = e.reason, result = e.result,
           error = e.error, error_type = e.error_type, error_message = e.error_message,
           error_fingerprint = e.error_fingerprint, worker = null, ready_ms = null, wake_ms = null, crashes = 0, suspect = false,
           updated_ms = holdfast.now_ms(%(now_ms)s), finalized_ms = holdfast.now_ms(%(now_ms)s),
           transition_seq = r.transition_seq + 1
      from (select m.* from (select o.* from ending o limit (select 1000000000)) m limit (select 1000000000)) e
     where r.shard = e.shard and r.id = e.id and r.epoch = e.epoch and r.status = e.status
    returning r.shard, r.id, r.status, r.status_reason, r.epoch, r.transition_seq, r.finalized_ms,
              e.status as from_status, e.worker,
              case when exists (select from holdfast.subscriptions s where s.tenant in ('', r.tenant))
                   then holdfast.tell_end(r, '[]'::json) end as told
), closed as (
    update holdfast.waits w
       set outcome = 'cancelled', closed_ms = m.finalized_ms
      from moved m
     where m.status <> 'stuck' and w.shard = m.shard and w.run_id = m.id and coalesce(w.outcome, '') = ''
)
insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, worker, epoch, at_ms)
select m.shard, m.id, m.transition_seq, m.from_status, m.status, m.status_reason, m.worker, m.epoch, m.finalized_ms
  from moved m
