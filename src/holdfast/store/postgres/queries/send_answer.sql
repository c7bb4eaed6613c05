-- Close an approval of a locked run with a person's verdict, and put a parked run into the line.
-- Guard: open, and one of the names may answer by now; the run unheld and not in the line. Index: primary keys.
-- Returns: one row if it was closed: the run's id, whether it is in the line now, whether a worker holds it.
with heard as (
    update holdfast.waits w
       set outcome = 'answered', closed_ms = holdfast.now_ms(%(now_ms)s), result = %(verdict)s::json,
           answer_id = %(answer_id)s::uuid
     where w.shard = %(shard)s::smallint and w.run_id = %(id)s::uuid and w.key = %(key)s and w.kind = 'approval'
       and w.outcome is null
       and holdfast.may_answer(w.request, w.opened_ms, holdfast.now_ms(%(now_ms)s), %(names)s::text[])
    returning w.shard, w.run_id, w.key
), moved as (
    update holdfast.runs r
       set status = case when r.status = 'waiting' then 'queued' else r.status end, status_reason = 'answered',
           wake_ms = null, ready_ms = holdfast.now_ms(%(now_ms)s), updated_ms = holdfast.now_ms(%(now_ms)s),
           transition_seq = r.transition_seq + 1
      from heard h
     where r.shard = h.shard and r.id = h.run_id and r.worker is null and r.ready_ms is null
       and coalesce(r.status, '') in ('waiting', 'compensating')
    returning r.shard, r.id, r.status, r.epoch, r.transition_seq, r.updated_ms, h.key
), logged as (
    insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, key, epoch, at_ms)
    select m.shard, m.id, m.transition_seq, case when m.status = 'queued' then 'waiting' else m.status end,
           m.status, 'answered', m.key, m.epoch, m.updated_ms
      from moved m
)
select h.run_id, h.run_id in (select m.id from moved m) as ready,
       (select o.worker is not null from holdfast.runs o where o.shard = h.shard and o.id = h.run_id) as held
  from heard h
