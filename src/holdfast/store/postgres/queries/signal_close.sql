-- Close waits of locked runs with the signals that match them, and put parked runs into the line.
-- Rows: run id, wait key, tenant, signal id.
-- Guard: the wait open, the signal not consumed; the run unheld and not in the line. Index: primary keys.
-- Returns: one row per run whose wait was closed: its id, whether it is in the line now, whether a worker holds it.
with pairs as materialized (
    select s.shard, l.id as run_id, l.key, s.tenant, s.id as signal_id, s.run_id as receiver, s.payload,
           l.place, r.held
      from rows from (json_to_recordset(%(pairs)s::json) as (
           id uuid, key text, tenant text, signal_id uuid))
           with ordinality as l (id, key, tenant, signal_id, place)
     cross join lateral (
           select k.shard, k.tenant, k.id, k.run_id, k.payload
             from holdfast.signals k
            where k.shard = %(shard)s::smallint and k.tenant = l.tenant and k.id = l.signal_id
              and k.consumed_ms is null
            limit 1) s
     cross join lateral (
           select o.worker is not null as held
             from holdfast.runs o
            where o.shard = %(shard)s::smallint and o.id = l.id
            limit 1) r
), heard as (
    update holdfast.waits w
       set outcome = 'signalled', closed_ms = holdfast.now_ms(%(now_ms)s), result = f.payload
      from (select m.* from (select o.* from pairs o limit (select 1000000000)) m limit (select 1000000000)) f
     where w.shard = f.shard and w.run_id = f.run_id and w.key = f.key and coalesce(w.outcome, '') = ''
    returning w.shard, w.run_id, w.key, f.tenant, f.signal_id, f.receiver, f.place, f.held
), consumed as (
    update holdfast.signals s
       set consumed_ms = holdfast.now_ms(%(now_ms)s), wait_key = h.key
      from (select m.* from (select o.* from heard o limit (select 1000000000)) m limit (select 1000000000)) h
     where s.shard = h.shard and s.tenant = h.tenant and s.id = h.signal_id and s.run_id = h.run_id
), received as (
    insert into holdfast.receipts (shard, signal_id, run_id, tenant, wait_key, consumed_ms)
    select h.shard, h.signal_id, h.run_id, h.tenant, h.key, holdfast.now_ms(%(now_ms)s)
      from heard h
     where h.receiver is null
), told as (
    select distinct on (h.run_id) h.shard, h.run_id, h.key, h.held
      from heard h
     order by h.run_id, h.place
), moved as (
    update holdfast.runs r
       set status = case when r.status = 'waiting' then 'queued' else r.status end, status_reason = 'signalled',
           wake_ms = null, ready_ms = holdfast.now_ms(%(now_ms)s), updated_ms = holdfast.now_ms(%(now_ms)s),
           transition_seq = r.transition_seq + 1
      from (select m.* from (select o.* from told o limit (select 1000000000)) m limit (select 1000000000)) t
     where r.shard = t.shard and r.id = t.run_id and r.worker is null and r.ready_ms is null
       and coalesce(r.status, '') in ('waiting', 'compensating')
    returning r.shard, r.id, r.status, r.epoch, r.transition_seq, r.updated_ms, t.key
), logged as (
    insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, key, epoch, at_ms)
    select m.shard, m.id, m.transition_seq, case when m.status = 'queued' then 'waiting' else m.status end,
           m.status, 'signalled', m.key, m.epoch, m.updated_ms
      from moved m
)
select t.run_id, t.run_id in (select m.id from moved m) as ready, t.held from told t order by t.run_id
