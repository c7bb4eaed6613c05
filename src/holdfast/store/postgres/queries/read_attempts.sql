-- The failed attempts of these runs.
-- Index: primary key. Returns: the rows of each run by key and number.
select a.run_id, a.key, a.attempt, a.error, a.started_ms, a.ended_ms
  from unnest(%(ids)s::uuid[]) as d (id)
 cross join lateral (
       select o.*
         from holdfast.attempts o
        where o.shard = %(shard)s::smallint and o.run_id = d.id
       offset 0) a
 order by a.run_id, a.key collate "C", a.attempt
