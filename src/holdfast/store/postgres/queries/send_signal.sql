-- Close the oldest open wait for a signal of each of these locked runs, and put parked ones into the line.
-- A statement of its own after the one that locked the runs.
-- Guard: the wait open, the run unheld and not in the line. Index: waits_open, primary keys.
-- Returns: one row per run whose wait was closed: its id, whether it is in the line now, whether a worker holds it.
with found as materialized (
    select w.shard, w.run_id, w.key, r.held
      from unnest(%(ids)s::uuid[]) as d (id)
     cross join lateral (
           select o.shard, o.run_id, o.key
             from holdfast.waits o
            where o.shard = %(shard)s::smallint and o.run_id = d.id and o.signal = %(name)s and o.outcome is null
              and o.kind = 'signal'
            order by o.seq, o.key
            limit 1) w
     cross join lateral (
           select o.worker is not null as held
             from holdfast.runs o
            where o.shard = %(shard)s::smallint and o.id = d.id
            limit 1) r
), heard as (
    update holdfast.waits w
       set outcome = 'signalled', closed_ms = holdfast.now_ms(%(now_ms)s), result = %(payload)s::json
      from (select m.* from (select o.* from found o limit (select 1000000000)) m limit (select 1000000000)) f
     where w.shard = f.shard and w.run_id = f.run_id and w.key = f.key and w.outcome is null
    returning w.shard, w.run_id, w.key, f.held
), consumed as (
    update holdfast.signals s
       set consumed_ms = holdfast.now_ms(%(now_ms)s), wait_key = h.key
      from heard h
     where s.shard = %(shard)s::smallint and s.tenant = %(tenant)s and s.id = %(signal_id)s::uuid
       and s.run_id = h.run_id
), moved as (
    update holdfast.runs r
       set status = case when r.status = 'waiting' then 'queued' else r.status end, status_reason = 'signalled',
           wake_ms = null, ready_ms = holdfast.now_ms(%(now_ms)s), updated_ms = holdfast.now_ms(%(now_ms)s),
           transition_seq = r.transition_seq + 1
      from heard h
     where r.shard = h.shard and r.id = h.run_id and r.worker is null and r.ready_ms is null
       and r.status in ('waiting', 'compensating')
    returning r.shard, r.id, r.status, r.epoch, r.transition_seq, r.updated_ms, h.key
), logged as (
    insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, key, epoch, at_ms)
    select m.shard, m.id, m.transition_seq, case when m.status = 'queued' then 'waiting' else m.status end,
           m.status, 'signalled', m.key, m.epoch, m.updated_ms
      from moved m
)
select h.run_id, h.run_id in (select m.id from moved m) as ready, h.held from heard h order by h.run_id
