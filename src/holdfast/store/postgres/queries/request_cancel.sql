-- Cancel a locked run that nobody holds.
-- Guard: unheld, not compensating, and not at its end. Index: primary keys, waits_open. Returns: nothing.
with moved as (
    update holdfast.runs r
       set status = 'cancelled', status_reason = 'cancelled', terminal_reason = %(reason)s, ready_ms = null,
           wake_ms = null, updated_ms = holdfast.now_ms(%(now_ms)s), finalized_ms = holdfast.now_ms(%(now_ms)s),
           transition_seq = r.transition_seq + 1
      from holdfast.runs o
     where o.shard = %(shard)s::smallint and o.id = %(id)s::uuid
       and r.shard = %(shard)s::smallint and r.id = %(id)s::uuid and r.tenant = %(tenant)s and r.worker is null
       and r.status = o.status and r.status <> 'compensating' and r.finalized_ms is null
    returning r.id, r.status, r.epoch, r.transition_seq, r.finalized_ms, o.status as from_status
), closed as (
    update holdfast.waits w
       set outcome = 'cancelled', closed_ms = m.finalized_ms
      from moved m
     where w.shard = %(shard)s::smallint and w.run_id = m.id and w.outcome is null
)
insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, epoch, at_ms)
select %(shard)s::smallint, m.id, m.transition_seq, m.from_status, m.status, m.status, m.epoch, m.finalized_ms
  from moved m
