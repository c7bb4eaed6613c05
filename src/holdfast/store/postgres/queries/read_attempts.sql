-- The failed attempts of these runs.
-- Index: primary key. Returns: the rows of each run by key and number.
select a.run_id, a.key, a.attempt, a.error, a.started_ms, a.ended_ms
  from holdfast.attempts a
 where a.shard = %(shard)s::smallint and a.run_id = any(%(ids)s::uuid[])
 order by a.run_id, a.key collate "C", a.attempt
