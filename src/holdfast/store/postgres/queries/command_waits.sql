-- Close waits of a locked run by hand.
-- Guard: the wait open, the run held by nobody. Index: primary keys. Returns: nothing.
update holdfast.waits w
   set outcome = c.outcome, closed_ms = %(updated_ms)s::bigint, result = c.result, error = c.error,
       child_status = c.child_status
  from json_to_recordset(%(closings)s::json) as c (
       key text, outcome text, result json, error json, child_status text)
 where w.shard = %(shard)s::smallint and w.run_id = %(id)s::uuid and w.key = c.key and w.outcome is null
   and exists (select from holdfast.runs r
                where r.shard = %(shard)s::smallint and r.id = %(id)s::uuid and r.worker is null)
