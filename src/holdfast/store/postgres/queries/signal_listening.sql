-- The open waits of these locked runs for signals of a name.
-- Index: waits_open. Returns: run id, key, request, oldest first within a run.
select w.run_id, w.key, w.request
  from unnest(%(ids)s::uuid[]) as d (id)
 cross join lateral (
       select o.run_id, o.key, o.seq, o.request
         from holdfast.waits o
        where o.shard = %(shard)s::smallint and o.run_id = d.id and o.outcome is null
          and o.kind = 'signal' and o.signal = %(name)s
       offset 0) w
 order by w.run_id, w.seq, w.key
