-- The journal of these runs.
-- Index: primary key. Returns: the rows of each run in the order of completion.
select j.run_id, j.key, j.seq, j.kind, j.name, j.status, j.result, j.error, j.fingerprint, j.input, j.attempts, j.epoch,
       j.started_ms, j.completed_ms, j.settled_by
  from holdfast.journal j
 where j.shard = %(shard)s::smallint and j.run_id = any(%(ids)s::uuid[])
 order by j.run_id, j.seq, j.key
