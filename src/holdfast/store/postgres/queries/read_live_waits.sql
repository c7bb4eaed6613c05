-- The closed ones of these waits, each named by its run and key.
-- Index: primary key. Returns: the rows of each run, oldest first.
select w.run_id, w.key, w.seq, w.kind, w.signal, w.child_id, w.due_ms, w.opened_ms, w.outcome, w.closed_ms, w.result,
       w.error, w.child_status, w.request, w.note
  from unnest(%(ids)s::uuid[], %(keys)s::text[]) as asked (run_id, key)
 cross join lateral (
       select *
         from holdfast.waits o
        where o.shard = %(shard)s::smallint and o.run_id = asked.run_id and o.key = asked.key
          and o.outcome is not null
       offset 0) w
 order by w.run_id, w.seq, w.key
