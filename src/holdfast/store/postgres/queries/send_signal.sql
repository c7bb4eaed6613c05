-- Close the oldest open wait for a signal of each of these locked runs, and put parked ones into the line.
-- A statement of its own after the one that locked the runs.
-- Guard: the wait open, the run unheld and not in the line. Index: waits_open_signal, primary keys.
-- Returns: one row per run whose wait was closed: its id, whether it is in the line now, whether a worker holds it.
with found as (
    select distinct on (w.run_id) w.run_id, w.key
      from holdfast.waits w
     where w.shard = %(shard)s::smallint and w.signal = %(name)s and w.run_id = any(%(ids)s::uuid[])
       and w.outcome is null and w.kind = 'signal'
     order by w.run_id, w.seq, w.key
), heard as (
    update holdfast.waits w
       set outcome = 'signalled', closed_ms = coalesce(%(now_ms)s::bigint, floor(extract(epoch from statement_timestamp()) * 1000)::bigint), result = %(payload)s::json
      from found f
     where w.shard = %(shard)s::smallint and w.run_id = f.run_id and w.key = f.key and w.outcome is null
    returning w.run_id, w.key
), consumed as (
    update holdfast.signals s
       set consumed_ms = coalesce(%(now_ms)s::bigint, floor(extract(epoch from statement_timestamp()) * 1000)::bigint), wait_key = h.key
      from heard h
     where s.shard = %(shard)s::smallint and s.tenant = %(tenant)s and s.id = %(signal_id)s::uuid
       and s.run_id = h.run_id
), moved as (
    update holdfast.runs r
       set status = case when r.status = 'waiting' then 'queued' else r.status end, status_reason = 'signalled',
           wake_ms = null, ready_ms = coalesce(%(now_ms)s::bigint, floor(extract(epoch from statement_timestamp()) * 1000)::bigint), updated_ms = coalesce(%(now_ms)s::bigint, floor(extract(epoch from statement_timestamp()) * 1000)::bigint), transition_seq = r.transition_seq + 1
      from heard h
     where r.shard = %(shard)s::smallint and r.id = h.run_id and r.worker is null and r.ready_ms is null
       and r.status in ('waiting', 'compensating')
    returning r.id, r.status, r.epoch, r.transition_seq, r.updated_ms, h.key
), logged as (
    insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, key, epoch, at_ms)
    select %(shard)s::smallint, m.id, m.transition_seq, case when m.status = 'queued' then 'waiting' else m.status end,
           m.status, 'signalled', m.key, m.epoch, m.updated_ms
      from moved m
)
select h.run_id, exists (select from moved m where m.id = h.run_id) as ready,
       (select r.worker is not null from holdfast.runs r where r.shard = %(shard)s::smallint and r.id = h.run_id) as held
  from heard h
 order by h.run_id
