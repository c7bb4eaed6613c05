-- Which of these runs the worker holds.
-- Index: primary key. Returns: one row per run: its id, and whether it is to be cancelled.
select r.id, r.cancel_requested
  from holdfast.runs r
 where r.shard = %(shard)s::smallint and r.id = any(%(ids)s::uuid[]) and r.worker = %(worker)s
 order by r.id
