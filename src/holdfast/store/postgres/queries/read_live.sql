-- Which of these runs the worker holds.
-- Index: primary key. Returns: one row per run: its id, whether it is to be cancelled, and to be paused.
select r.id, r.cancel_requested, r.pause_requested
  from holdfast.runs r
 where r.shard = %(shard)s::smallint and r.id = any(%(ids)s::uuid[]) and r.worker = %(worker)s
 order by r.id
