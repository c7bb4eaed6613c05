-- The open waits of these locked runs for signals of a name.
-- The name is compared outside: inside, a plan made while there were few waits may go by signal, and read all its waits for each run.
-- Index: waits_open. Returns: run id, key, request, oldest first within a run.
select w.run_id, w.key, w.request
  from unnest(%(ids)s::uuid[]) as d (id)
 cross join lateral (
       select o.run_id, o.key, o.seq, o.kind, o.signal, o.request
         from holdfast.waits o
        where o.shard = %(shard)s::smallint and o.run_id = d.id and o.outcome is null
       offset 0) w
 where w.kind = 'signal' and w.signal = %(name)s
 order by w.run_id, w.seq, w.key
