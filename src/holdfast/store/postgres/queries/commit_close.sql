-- Close waits for their holder: as elapsed if the database agrees that their time has come, or as cancelled.
-- Guard: the run is held at the lease's epoch, the wait open. Index: primary keys. Returns: nothing.
update holdfast.waits w
   set outcome = l.outcome, closed_ms = coalesce(%(now_ms)s::bigint, floor(extract(epoch from statement_timestamp()) * 1000)::bigint)
  from json_to_recordset(%(closings)s::json) as l (
       id uuid, epoch bigint, running boolean, key text, outcome text)
  join holdfast.runs r
    on r.shard = %(shard)s::smallint and r.id = l.id and r.epoch = l.epoch
   and (r.status = 'running' or (r.status = 'compensating' and not l.running))
 where w.shard = %(shard)s::smallint and w.run_id = l.id and w.key = l.key and w.outcome is null
   and (l.outcome = 'cancelled' or w.due_ms <= coalesce(%(now_ms)s::bigint, floor(extract(epoch from statement_timestamp()) * 1000)::bigint))
