-- Close waits for their holder: as elapsed if the database agrees that their time has come, or as cancelled.
-- Guard: the run is held at the lease's epoch, the wait open. Index: primary keys. Returns: nothing.
with closing as materialized (
    select o.shard, l.id, l.key, l.outcome
      from json_to_recordset(%(closings)s::json) as l (
           id uuid, epoch bigint, running boolean, key text, outcome text)
     cross join lateral (
           select r.shard
             from holdfast.runs r
            where r.shard = %(shard)s::smallint and r.id = l.id and r.epoch = l.epoch
              and coalesce(r.worker, '') <> ''
              and (r.status = 'running' or (r.status = 'compensating' and not l.running))
            limit 1) o
)
update holdfast.waits w
   set outcome = c.outcome, closed_ms = holdfast.now_ms(%(now_ms)s)
  from (select m.* from (select o.* from closing o limit (select 1000000000)) m limit (select 1000000000)) c
 where w.shard = c.shard and w.run_id = c.id and w.key = c.key and coalesce(w.outcome, '') = ''
   and (c.outcome = 'cancelled' or w.due_ms <= holdfast.now_ms(%(now_ms)s))
