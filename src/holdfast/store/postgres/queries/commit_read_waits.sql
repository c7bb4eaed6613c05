-- The waits that a batch opened or closed, as they stand now.
-- Index: primary key. Returns: the rows of each run, oldest first.
select w.run_id, w.key, w.seq, w.kind, w.signal, w.child_id, w.due_ms, w.opened_ms, w.outcome, w.closed_ms, w.result,
       w.error, w.child_status, w.request, w.note
  from json_to_recordset(%(touched)s::json) as l (id uuid, key text)
 cross join lateral (
       select f.*
         from holdfast.waits f
        where f.shard = %(shard)s::smallint and f.run_id = l.id and f.key = l.key
        limit 1) w
 order by w.run_id, w.seq, w.key
