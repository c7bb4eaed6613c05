-- The waits of these runs; only the closed ones if `closed`.
-- Index: primary key. Returns: the rows of each run, oldest first.
select w.run_id, w.key, w.seq, w.kind, w.signal, w.child_id, w.due_ms, w.opened_ms, w.outcome, w.closed_ms, w.result,
       w.error, w.child_status, w.request, w.note
  from unnest(%(ids)s::uuid[]) as d (id)
 cross join lateral (
       select o.*
         from holdfast.waits o
        where o.shard = %(shard)s::smallint and o.run_id = d.id
       offset 0) w
 where w.outcome is not null or not %(closed)s::boolean
 order by w.run_id, w.seq, w.key
