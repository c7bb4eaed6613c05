-- The waits of these runs; only the closed ones if `closed`.
-- Index: primary key. Returns: the rows of each run, oldest first.
select w.run_id, w.key, w.seq, w.kind, w.signal, w.child_id, w.due_ms, w.opened_ms, w.outcome, w.closed_ms, w.result,
       w.error, w.child_status, w.request, w.note
  from holdfast.waits w
 where w.shard = %(shard)s::smallint and w.run_id = any(%(ids)s::uuid[])
   and (w.outcome is not null or not %(closed)s::boolean)
 order by w.run_id, w.seq, w.key
