-- How far these runs' records have come.
-- Index: primary keys. Returns: one row per run that exists.
select r.id, r.status, r.epoch,
       greatest(
           (select coalesce(max(j.seq), 0) from holdfast.journal j
             where j.shard = %(shard)s::smallint and j.run_id = r.id),
           (select coalesce(max(w.seq), 0) from holdfast.waits w
             where w.shard = %(shard)s::smallint and w.run_id = r.id)) as seq,
       (select count(*) from holdfast.attempts a
         where a.shard = %(shard)s::smallint and a.run_id = r.id) as attempts
  from unnest(%(ids)s::uuid[]) as d (id)
 cross join lateral (
       select o.*
         from holdfast.runs o
        where o.shard = %(shard)s::smallint and o.id = d.id
       offset 0) r
